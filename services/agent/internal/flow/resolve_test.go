package flow

import (
	"testing"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

// sent makes a menu; options are label, value, label, value ….
func sent(node string, options ...string) *agentv1.SentMenu {
	menu := &agentv1.SentMenu{Node: node}
	for i := 0; i < len(options); i += 2 {
		menu.Options = append(menu.Options, &agentv1.SentOption{Label: options[i], Value: options[i+1]})
	}
	return menu
}

func TestResolve(t *testing.T) {
	first := sent("first", "Pedido", "index0", "Produtos", "index1", "Ajuda", "index2")
	again := sent("first", "Pedido", "index0", "Produtos", "index1", "Ajuda", "index2")
	other := sent("other", "Pedido", "index0", "Lápis", "index1")
	newest := sent("newest", "Caneta", "index0")
	sections := sent("sections", "Um", "section0-index0", "Dois", "section1-index0")
	for _, c := range []struct {
		name           string
		menus          []*agentv1.SentMenu
		postback, text string
		menu           *agentv1.SentMenu
		label          string
	}{
		{"no menu", nil, "index0", "Pedido", nil, ""},
		{"no postback", []*agentv1.SentMenu{first}, "", "Pedido", nil, ""},
		{"the newest, by label", []*agentv1.SentMenu{first, newest}, "index0", "CANETA ", newest, "Caneta"},
		{"the newest, without text", []*agentv1.SentMenu{first, newest}, "index0", "", newest, "Caneta"},
		{"the newest, another label that nobody has", []*agentv1.SentMenu{first, newest}, "index0", "Lápis", newest, "Caneta"},
		{"an older one by its label", []*agentv1.SentMenu{first, newest}, "index0", "pedido", first, "Pedido"},
		{"two older ones of the same label", []*agentv1.SentMenu{first, other, newest}, "index0", "Pedido", newest, "Caneta"},
		{"two older ones of the same place, one of the label", []*agentv1.SentMenu{first, other, newest}, "index1", "lapis", other, "Lápis"},
		{"the newest has no such option, one older has it", []*agentv1.SentMenu{first, other, newest}, "index2", "Ajuda", first, "Ajuda"},
		{"the newest has no such option, one older has it, without text", []*agentv1.SentMenu{first, other, newest}, "index2", "", first, "Ajuda"},
		{"the newest has no such option, two older have it, without text", []*agentv1.SentMenu{first, other, newest}, "index1", "", nil, ""},
		{"the newest has no such option, none has the label", []*agentv1.SentMenu{first, newest}, "index2", "Outro", nil, ""},
		{"the same menu twice is one, the newest", []*agentv1.SentMenu{first, again, newest}, "index1", "Produtos", again, "Produtos"},
		{"the same menu twice, apart", []*agentv1.SentMenu{first, other, again, newest}, "index1", "Produtos", again, "Produtos"},
		{"a place of sections", []*agentv1.SentMenu{sections, newest}, "section1-index0", "dois", sections, "Dois"},
		{"a place of sections is not one of a simple menu", []*agentv1.SentMenu{newest}, "section0-index0", "Caneta", nil, ""},
		{"nonsense", []*agentv1.SentMenu{first}, "index00", "Pedido", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			menu, option := resolve(c.menus, c.postback, c.text)
			require.Equal(t, c.label, option.GetLabel())
			if c.menu != nil {
				require.Same(t, c.menu, menu)
			}
		})
	}
}

func FuzzResolve(f *testing.F) {
	f.Add("index0", "Pedido", "Pedido", "Caneta")
	f.Add("section0-index1", "", "a", "b")
	f.Add("index1", "É", "e", "E")
	f.Fuzz(func(t *testing.T, postback, text, labelA, labelB string) {
		menus := []*agentv1.SentMenu{
			sent("a", labelA, "index0", labelB, "index1"), sent("b", labelB, "index0"), sent("c", labelA, "section0-index0", labelB, "section0-index1"),
		}
		menu, option := resolve(menus, postback, text)
		if option == nil {
			return
		}
		require.Equal(t, postback, option.GetValue())
		require.Contains(t, menu.GetOptions(), option)
		if menu != menus[2] && fold.String(text) != "" {
			require.True(t, fold.Equal(option.GetLabel(), text), "only a label leads to an older menu")
		}
		r := &run{menus: menus, turn: Turn{Text: text}}
		r.byText()
	})
}
