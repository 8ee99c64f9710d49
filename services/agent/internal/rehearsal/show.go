package rehearsal

import (
	"maps"
	"slices"
	"strings"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// showMessage writes a message as cases have it:
//
//	Olá!
//	[date] Quando você comprou?
//	[buttons] Como posso ajudar? | Meu pedido | Produtos
//	[list Selecionar] Selecione um item: | # Papelaria | Caderno (96 folhas) | Caneta
//	[image] https://example.com/mapa.png mapa.png Onde ele está
func showMessage(m *messagev1.Message) string {
	switch content := m.GetContent().(type) {
	case *messagev1.Message_Text:
		return content.Text.GetText()
	case *messagev1.Message_Date:
		return "[date] " + content.Date.GetText()
	case *messagev1.Message_Buttons:
		return strings.Join(append([]string{"[buttons] " + content.Buttons.GetText()}, showOptions(content.Buttons.GetOptions())...), " | ")
	case *messagev1.Message_List:
		parts := []string{"[list " + content.List.GetTitle() + "] " + content.List.GetText()}
		for _, section := range content.List.GetSections() {
			if section.Label != nil {
				parts = append(parts, "# "+section.GetLabel())
			}
			parts = append(parts, showOptions(section.GetItems())...)
		}
		return strings.Join(parts, " | ")
	case *messagev1.Message_Media:
		kind := strings.ToLower(strings.TrimPrefix(content.Media.GetKind().String(), "KIND_"))
		parts := []string{"[" + kind + "]", content.Media.GetLink(), content.Media.GetFilename(), content.Media.GetText()}
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
	default:
		return "[" + string(m.ProtoReflect().WhichOneof(m.ProtoReflect().Descriptor().Oneofs().Get(0)).Name()) + "]"
	}
}

func showOptions(options []*messagev1.Option) []string {
	shown := make([]string, len(options))
	for i, option := range options {
		shown[i] = option.GetLabel()
		if option.GetDescription() != "" {
			shown[i] += " (" + option.GetDescription() + ")"
		}
	}
	return shown
}

func showEvents(events []flow.Event) []string {
	shown := make([]string, len(events))
	for i, event := range events {
		shown[i] = showEvent(event.Name, event.Details)
	}
	return shown
}

func showEvent(name string, details map[string]string) string {
	text := "event: " + name
	for _, key := range slices.Sorted(maps.Keys(details)) {
		text += ", " + key + "=" + details[key]
	}
	return text
}
