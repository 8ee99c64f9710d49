package match

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
)

// maxPiece is how many bytes of a passage are shown at once. A longer one is cut between paragraphs, or sentences, or words.
const maxPiece = 1000

// piece is a part of a passage that can be shown.
type piece struct {
	passage int
	text    string
}

// split cuts a passage into pieces.
func split(p Passage) []piece {
	var pieces []piece
	rest := strings.TrimSpace(p.Text)
	for rest != "" {
		end := len(rest)
		if end > maxPiece {
			end = cutAt(rest)
		}
		pieces = append(pieces, piece{text: strings.TrimSpace(rest[:end])})
		rest = strings.TrimSpace(rest[end:])
	}
	return pieces
}

// cutAt is where a text that is too long is cut: behind the last paragraph that fits, else the last sentence, else the last word.
func cutAt(text string) int {
	window := text[:maxPiece]
	for _, mark := range []string{"\n\n", "\n", ". ", "? ", "! ", " "} {
		if at := strings.LastIndex(window, mark); at > maxPiece/4 {
			return at + len(mark)
		}
	}
	at := maxPiece
	for at > 0 && text[at]&0xC0 == 0x80 { // not inside a character
		at--
	}
	return at
}

// Passage finds the passage that a message asks about, and the part of it to show. The confidence is the share of the message's telling
// words, by their weight, that the part and its title have, and the root of that share if one of them is in the title: then half of them are
// enough. Errors: that of the context.
func (x *Index) Passage(ctx context.Context, message string) (Match, string, error) {
	s := &x.passages
	asked := words(message, maxWords)
	candidates, err := x.search.candidates(ctx, fieldPassage, s, asked)
	if err != nil {
		return none, "", err
	}
	best, at := none, -1
	about := telling(asked)
	for _, candidate := range candidates { // those that BM25 likes best come first
		if confidence := x.about(about, candidate); confidence > best.Confidence {
			best, at = Match{s.entries[candidate].target, confidence}, candidate
		}
	}
	if at < 0 {
		return none, "", nil
	}
	return best, x.pieces[at].text, nil
}

// Found is a part of a passage that has to do with a message.
type Found struct {
	Match
	// Text is the part.
	Text string
}

// Passages finds the parts of passages that have to do with a message: the surest first, at most limit of them, none less sure than
// least. Errors: that of the context.
func (x *Index) Passages(ctx context.Context, message string, limit int, least float64) ([]Found, error) {
	if x == nil {
		return nil, nil
	}
	s := &x.passages
	asked := words(message, maxWords)
	candidates, err := x.search.candidates(ctx, fieldPassage, s, asked)
	if err != nil {
		return nil, err
	}
	var all []Found
	about := telling(asked)
	for _, candidate := range candidates {
		if confidence := x.about(about, candidate); confidence >= least {
			all = append(all, Found{Match{s.entries[candidate].target, confidence}, x.pieces[candidate].text})
		}
	}
	// Among equals BM25 decides, in whose order they came.
	slices.SortStableFunc(all, func(a, b Found) int { return cmp.Compare(b.Confidence, a.Confidence) })
	return all[:min(len(all), limit)], nil
}

// about tells how likely a part of a passage, by its place, answers a question that has these telling words.
func (x *Index) about(telling []word, at int) float64 {
	s := &x.passages
	e := &s.entries[at]
	confidence := s.covered(telling, e.words)
	if s.covered(telling, x.titles[e.target]) > 0 {
		confidence = math.Sqrt(confidence)
	}
	return confidence
}

// telling are the words that say what a message is about.
func telling(asked []word) []word {
	var kept []word
	for _, w := range asked {
		if w.kind == content {
			kept = append(kept, w)
		}
	}
	return kept
}
