package flow

import (
	"slices"
	"strconv"
	"strings"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

const (
	// MaxMenus is how many menus a conversation remembers.
	MaxMenus = 20
	// maxOptions is how many options all remembered menus may have together; the current menu is remembered whole in any case. The
	// state is stored each turn.
	maxOptions = 200
)

// remember makes a menu the current one.
func (r *run) remember(menu *agentv1.SentMenu) {
	menus := append(slices.Clone(r.menus), menu)
	options := 0
	first := len(menus)
	for first > 0 && len(menus)-first < MaxMenus {
		options += len(menus[first-1].GetOptions())
		if options > maxOptions && first < len(menus) {
			break
		}
		first--
	}
	r.menus = menus[first:]
}

// current gives the newest menu, nil if there is none. A menu stays open until its conversation gets another one.
func (r *run) current() *agentv1.SentMenu {
	if len(r.menus) == 0 {
		return nil
	}
	return r.menus[len(r.menus)-1]
}

// pressed takes a postback for a pick from a menu, and reports whether it is one.
func (r *run) pressed() bool {
	menu, option := resolve(r.menus, r.turn.Postback, r.turn.Text)
	switch {
	case option == nil:
		return false
	case menu == r.current() || r.runsStale:
		r.pick(menu, option)
	default:
		r.setLabel(option)
		r.repeat()
	}
	return true
}

// typed takes typed text for a pick from the current menu, and reports whether it is one.
func (r *run) typed() bool {
	menu, option := r.byText()
	if option == nil {
		return false
	}
	r.pick(menu, option)
	return true
}

// pick runs an option: its own node, else where its menu's node goes, else the fallback. An open question is given up by it: the
// conversation has gone elsewhere.
func (r *run) pick(menu *agentv1.SentMenu, option *agentv1.SentOption) {
	r.ask = nil
	r.setLabel(option)
	if target := r.nodes[option.GetGoto()]; target != nil {
		r.enter(target)
		return
	}
	if n := r.nodes[menu.GetNode()]; n != nil && r.resume(n) {
		return
	}
	r.notUnderstood()
}

func (r *run) setLabel(option *agentv1.SentOption) {
	r.result.InputLabel = option.GetLabel()
	r.scope.SetInputLabel(option.GetLabel())
}

// repeat sends the current menu again. It stays the current one, with the identifier of its newest message.
func (r *run) repeat() {
	menu := r.current()
	n, at := r.nodes[menu.GetNode()], int(menu.GetSayIndex())
	if n == nil || at < 0 || at >= len(n.say) || len(n.say[at].sections) == 0 {
		r.notUnderstood()
		return
	}
	message, sent := r.menu(n, at)
	if message == nil {
		r.notUnderstood()
		return
	}
	r.result.Node = n.name
	r.menus = r.menus[: len(r.menus)-1 : len(r.menus)-1]
	r.remember(sent)
	r.send(message)
}

// resolve finds the option that a postback means among the menus, oldest first, as contract "What a postback means" has it: that of the
// newest menu; but if it has none, or one with another label than text, and exactly one recent menu has the value and the label, then that
// one. A menu that was sent twice counts once, as its newest. Without text there is no label to compare, and any fits.
func resolve(menus []*agentv1.SentMenu, postback, text string) (*agentv1.SentMenu, *agentv1.SentOption) {
	if postback == "" || len(menus) == 0 {
		return nil, nil
	}
	wanted := fold.String(text)
	fits := func(option *agentv1.SentOption) bool {
		return option != nil && (wanted == "" || fold.String(option.GetLabel()) == wanted)
	}
	newest := menus[len(menus)-1]
	there := byValue(newest, postback)
	if fits(there) {
		return newest, there
	}
	var (
		found  *agentv1.SentMenu
		option *agentv1.SentOption
	)
	for _, menu := range slices.Backward(menus[:len(menus)-1]) {
		candidate := byValue(menu, postback)
		if !fits(candidate) || found != nil && sameMenu(found, menu) {
			continue
		}
		if found != nil {
			found = nil
			break
		}
		found, option = menu, candidate
	}
	if found != nil {
		return found, option
	}
	return newest, there
}

func sameMenu(a, b *agentv1.SentMenu) bool {
	return a.GetNode() == b.GetNode() && a.GetSayIndex() == b.GetSayIndex()
}

func byValue(menu *agentv1.SentMenu, value string) *agentv1.SentOption {
	for _, option := range menu.GetOptions() {
		if option.GetValue() == value {
			return option
		}
	}
	return nil
}

// byText finds the option of the current menu that the text names: by its label, by its number from 1, counted through all sections, or
// by "opção N". A label goes before a number, since labels can be numbers.
func (r *run) byText() (*agentv1.SentMenu, *agentv1.SentOption) {
	menu := r.current()
	if menu == nil {
		return nil, nil
	}
	wanted := fold.String(r.turn.Text)
	if wanted == "" {
		return nil, nil
	}
	for _, option := range menu.GetOptions() {
		if fold.String(option.GetLabel()) == wanted {
			return menu, option
		}
	}
	number, ok := optionNumber(wanted)
	if !ok || number < 1 || number > len(menu.GetOptions()) {
		return nil, nil
	}
	return menu, menu.GetOptions()[number-1]
}

// optionNumber reads "2" and "opcao 2" of folded text.
func optionNumber(folded string) (int, bool) {
	if rest, found := strings.CutPrefix(folded, "opcao"); found {
		folded = strings.TrimSpace(rest)
	}
	if !isNumber(folded) {
		return 0, false
	}
	number, err := strconv.Atoi(folded)
	return number, err == nil
}

// isNumber reports whether s is nothing but digits, outer spaces aside.
func isNumber(s string) bool {
	s = strings.TrimSpace(s)
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' }) < 0
}
