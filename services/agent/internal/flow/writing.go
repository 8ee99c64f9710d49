package flow

import (
	"strings"
	"unicode"
	"unicode/utf8"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// A text that comes in pieces and is too long for one message goes on in the next: behind a line from breakAtLine characters on, behind a
// word from breakAtWord on, and at maxText in any case.
const (
	breakAtLine = 9_000
	breakAtWord = 9_600
)

// writing is a text message that is being made.
type writing struct {
	text       strings.Builder
	characters int
}

// write adds a piece, of whole characters, to the text message that is being made, and begins one if there is none. What it adds is seen
// at once. Characters that control something are left out, and so is blank space at the beginning of a message.
func (r *run) write(piece string) {
	for piece = strings.Map(printable, piece); piece != "" && r.result.Stopped == ""; {
		if r.writing == nil {
			if piece = strings.TrimLeftFunc(piece, unicode.IsSpace); piece == "" {
				return
			}
			r.writing = &writing{}
		}
		end, full := r.writing.fit(piece)
		r.writing.text.WriteString(piece[:end])
		r.output += end
		r.sink.Text(piece[:end])
		if full || r.output > MaxOutput {
			r.closeText()
		}
		piece = piece[end:]
	}
}

// printable leaves out what a text may not have: stores refuse some of it, and terminals obey it.
func printable(c rune) rune {
	if unicode.IsControl(c) && c != '\n' && c != '\t' && c != '\r' {
		return -1
	}
	return c
}

// fit counts what of a piece the message takes, in bytes, and says whether the message ends with it.
func (w *writing) fit(piece string) (end int, full bool) {
	if n := utf8.RuneCountInString(piece); w.characters+n < breakAtLine {
		w.characters += n
		return len(piece), false
	}
	for at, c := range piece {
		w.characters++
		switch {
		case w.characters == maxText, w.characters >= breakAtWord && unicode.IsSpace(c), w.characters >= breakAtLine && c == '\n':
			return at + utf8.RuneLen(c), true
		}
	}
	return len(piece), false
}

// closeText sends the text message that is being made, if there is one.
func (r *run) closeText() {
	if r.writing == nil {
		return
	}
	text := r.writing.text.String()
	r.writing = nil
	r.send(&messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}}})
}
