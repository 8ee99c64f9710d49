package flow

import (
	"net/url"
	"strconv"
	"strings"
	"unicode"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
)

// The limits of prosa.message.v1, in characters. What is rendered beyond is cut.
const (
	maxText        = 10_000
	maxLabel       = 256
	maxDescription = 1024
	maxTitle       = 256
	maxFilename    = 256
	maxLink        = 2048
)

// cut gives at most the first limit characters of s.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	count := 0
	for at := range s {
		if count == limit {
			return s[:at]
		}
		count++
	}
	return s
}

// blank reports whether a receiver would show nothing.
func blank(s string) bool { return strings.TrimSpace(s) == "" }

func (r *run) render(t *expr.Template, limit int) string {
	text := cut(t.Render(r.ctx, r.scope), limit)
	r.output += len(text)
	return text
}

// send adds a message to the answer. The answer's last message, beyond all limits, is the one that says that it was cut short.
func (r *run) send(m *messagev1.Message) {
	if r.writing != nil {
		r.closeText()
	}
	m.Origin = messagev1.Origin_ORIGIN_BOT
	m.CreateTime = r.timestamp
	r.result.Messages = append(r.result.Messages, m)
	r.sink.Message(m)
	switch {
	case len(r.result.Messages) > MaxMessages:
		r.stop("more messages than an answer may have")
	case r.output > MaxOutput:
		r.stop("the answer is too large")
	}
}

// say says the message at n.say[at] and reports whether it is a menu that now waits for the person. What renders to nothing is not said.
func (r *run) say(n *node, at int) (menu bool) {
	what := &n.say[at]
	switch what.content {
	case contentButtons, contentList:
		message, sent := r.menu(n, at)
		if message == nil {
			return false
		}
		r.remember(sent)
		r.send(message)
		return true
	case contentMedia:
		r.sendMedia(what)
	default:
		r.sendWords(what)
	}
	return false
}

func (r *run) sendWords(what *say) {
	text := r.render(&what.text, maxText)
	if blank(text) {
		return
	}
	if what.content == contentDate {
		r.send(&messagev1.Message{Content: &messagev1.Message_Date{Date: &messagev1.DatePrompt{Text: text}}})
		return
	}
	r.send(&messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}}})
}

func (r *run) sendMedia(what *say) {
	// One character more than fits, to tell a link that is too long: half a link leads elsewhere.
	link := r.render(&what.link, maxLink+1)
	if !ValidLink(link) {
		return
	}
	r.send(&messagev1.Message{Content: &messagev1.Message_Media{Media: &messagev1.Media{
		Kind:     what.kind,
		Link:     link,
		Filename: r.render(&what.filename, maxFilename),
		Text:     r.render(&what.text, maxText),
	}}})
}

// ValidLink reports whether a link can be given to a receiver: an absolute http or https URL of at most 2,048 characters, without user
// information, which would be a credential in a message.
func ValidLink(link string) bool {
	if len([]rune(link)) > maxLink || strings.IndexFunc(link, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) >= 0 {
		return false
	}
	u, err := url.Parse(link)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil
}

// menu makes the message of n.say[at], a menu, and what must be remembered of it. Both are nil if nothing is left of it: no question, or
// no option that has a label. Options are numbered as they are shown.
func (r *run) menu(n *node, at int) (*messagev1.Message, *agentv1.SentMenu) {
	what := &n.say[at]
	text := r.render(&what.text, maxText)
	if blank(text) {
		return nil, nil
	}
	sent := &agentv1.SentMenu{Node: n.name, SayIndex: int32(at)}
	sections := make([]*messagev1.Section, 0, len(what.sections))
	for i := range what.sections {
		if shown := r.section(what, &what.sections[i], len(sections), sent); shown != nil {
			sections = append(sections, shown)
		}
	}
	if len(sections) == 0 {
		return nil, nil
	}
	sent.Msgid = r.turn.NewID()
	message := &messagev1.Message{Msgid: sent.Msgid}
	if what.content == contentButtons {
		message.Content = &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{Text: text, Options: sections[0].Items}}
	} else {
		message.Content = &messagev1.Message_List{List: &messagev1.List{
			Text: text, Title: r.render(&what.title, maxTitle), Sections: sections,
		}}
	}
	return message, sent
}

// section makes a section of a menu, the number-th that is shown, and adds its options to sent. It is nil if it has none.
func (r *run) section(menu *say, of *section, number int, sent *agentv1.SentMenu) *messagev1.Section {
	shown := &messagev1.Section{Items: make([]*messagev1.Option, 0, len(of.items))}
	prefix := "index"
	if menu.sectioned {
		label := r.render(&of.label, maxLabel)
		shown.Label = &label
		prefix = "section" + strconv.Itoa(number) + "-index"
	}
	for i := range of.items {
		item := &of.items[i]
		label := r.render(&item.label, maxLabel)
		if blank(label) {
			continue
		}
		made := &messagev1.Option{Label: label, Value: prefix + strconv.Itoa(len(shown.Items))}
		if menu.content == contentList {
			made.Description = r.render(&item.description, maxDescription)
		}
		shown.Items = append(shown.Items, made)
		sent.Options = append(sent.Options, &agentv1.SentOption{Label: label, Value: made.Value, Goto: item.target})
	}
	if len(shown.Items) == 0 {
		return nil
	}
	return shown
}
