package chat

import (
	"strconv"
	"strings"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// separator stands between the messages of an answer as text.
const separator = "\n\n"

// Text is a message as text. Options are numbered as they are picked, from 1 and through all sections; media are their words, their
// name and their link.
func Text(m *messagev1.Message) string {
	switch content := m.GetContent().(type) {
	case *messagev1.Message_Text:
		return content.Text.GetText()
	case *messagev1.Message_Date:
		return content.Date.GetText()
	case *messagev1.Message_Buttons:
		var b strings.Builder
		b.WriteString(content.Buttons.GetText())
		writeOptions(&b, content.Buttons.GetOptions(), 0)
		return b.String()
	case *messagev1.Message_List:
		return listText(content.List)
	case *messagev1.Message_Media:
		return mediaText(content.Media)
	}
	return ""
}

func listText(list *messagev1.List) string {
	var b strings.Builder
	b.WriteString(list.GetText())
	n := 0
	for _, section := range list.GetSections() {
		if section.GetLabel() != "" {
			b.WriteString("\n" + section.GetLabel())
		}
		n = writeOptions(&b, section.GetItems(), n)
	}
	return b.String()
}

// writeOptions writes a line an option and gives the number of the last one.
func writeOptions(b *strings.Builder, options []*messagev1.Option, n int) int {
	for _, option := range options {
		n++
		b.WriteString("\n" + strconv.Itoa(n) + ". " + option.GetLabel())
		if option.GetDescription() != "" {
			b.WriteString(": " + option.GetDescription())
		}
	}
	return n
}

func mediaText(media *messagev1.Media) string {
	lines := make([]string, 0, 3)
	for _, line := range []string{media.GetText(), media.GetFilename(), media.GetLink()} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
