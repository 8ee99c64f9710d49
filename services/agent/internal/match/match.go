// Package match finds what a message means among the texts of a definition: the examples of its intents, the questions of its curated
// answers, its passages. It needs no model and no network.
//
// Candidates come from an inverted index in memory (bleve: BM25, stems of Portuguese, words with up to two slips); how sure a match is, is
// computed on the candidates' words. The confidence of an example is 1 if the message has the same words, in any order; words weigh by
// how much they tell, and less the more intents or answers use them. It falls with words of the example that the message lacks, and,
// half as fast, with words of the message that no example of that intent has.
package match

import (
	"cmp"
	"context"
	"math"
	"slices"
)

const (
	// maxCandidates is how many texts are compared with a message in detail.
	maxCandidates = 64
	// ambiguous is how much surer than the second target the first must be.
	ambiguous = 0.02
	// certain is the confidence from which on a second target does not matter.
	certain = 0.95
)

// Corpus is what is to be found.
type Corpus struct {
	// Intents are the examples of each intent, and Answers the questions of each curated answer.
	Intents, Answers [][]string
	Passages         []Passage
}

// Passage is a text with its title.
type Passage struct{ Title, Text string }

// Match is what was found.
type Match struct {
	// Target is the place of the intent, answer or passage in its list, -1 if nothing was found.
	Target int
	// Confidence is how sure that is, 0 to 1.
	Confidence float64
}

// none is no match.
var none = Match{Target: -1}

// Index finds texts. It is safe for concurrent use, and never changes.
type Index struct {
	intents, answers shelf
	passages         shelf
	pieces           []piece  // of the passages, by the places of the entries in their shelf
	titles           [][]word // of the passages
	search           texts
	size             int
}

// shelf is the entries of one kind.
type shelf struct {
	entries []entry
	// vocabulary is, for each target, the words of its entries.
	vocabulary [][]word
	// rarity is what a stem weighs by the number of targets that use it, 0 to 1. It has all stems of the shelf.
	rarity map[string]float64
}

// entry is a text that can be found.
type entry struct {
	target int
	words  []word
}

// Build makes an index. It is nil when there is nothing to find. The error is a fault of this program, never of the corpus.
func Build(corpus Corpus) (*Index, error) {
	if len(corpus.Intents)+len(corpus.Answers)+len(corpus.Passages) == 0 {
		return nil, nil
	}
	x := &Index{size: indexBytes, intents: newShelf(corpus.Intents), answers: newShelf(corpus.Answers)}
	titled := make([][]string, len(corpus.Passages))
	for i, passage := range corpus.Passages {
		x.titles = append(x.titles, words(passage.Title, 0))
		for _, p := range split(passage) {
			p.passage = i
			x.pieces = append(x.pieces, p)
			// The title twice: what it names the passage is about, and the text only mentions.
			titled[i] = append(titled[i], passage.Title+"\n"+passage.Title+"\n"+p.text)
			x.size += len(p.text)
		}
	}
	x.passages = newShelf(titled)
	var err error
	if x.search, err = newTexts(&x.intents, &x.answers, &x.passages); err != nil {
		return nil, err
	}
	x.size += x.intents.size() + x.answers.size() + x.passages.size()
	return x, nil
}

// Size is about how many bytes of memory the index takes.
func (x *Index) Size() int {
	if x == nil {
		return 0
	}
	return x.size
}

func newShelf(targets [][]string) shelf {
	s := shelf{vocabulary: make([][]word, len(targets)), rarity: make(map[string]float64)}
	for target, texts := range targets {
		seen := make(map[string]bool)
		for _, text := range texts {
			e := entry{target: target, words: words(text, 0)}
			s.entries = append(s.entries, e)
			for _, w := range e.words {
				if seen[w.surface] {
					continue
				}
				seen[w.surface] = true
				s.vocabulary[target] = append(s.vocabulary[target], w)
			}
		}
		stems := make(map[string]bool)
		for _, w := range s.vocabulary[target] {
			if !stems[w.stem] {
				stems[w.stem] = true
				s.rarity[w.stem]++
			}
		}
	}
	all := float64(len(targets))
	for stem, users := range s.rarity {
		s.rarity[stem] = math.Log(1+all/users) / math.Log(1+all)
	}
	return s
}

// The memory that an index takes, measured: by itself, and of an entry, of a word of an entry, of a word of a target's vocabulary, and of
// a stem.
const (
	indexBytes = 48 << 10
	entryBytes = 100
	wordBytes  = 60
	knownBytes = 60
	stemBytes  = 150
)

func (s *shelf) size() int {
	size := entryBytes*len(s.entries) + stemBytes*len(s.rarity)
	for i := range s.entries {
		size += wordBytes * len(s.entries[i].words)
	}
	for _, words := range s.vocabulary {
		size += knownBytes * len(words)
	}
	return size
}

// Intent finds the intent that a message has.
func (x *Index) Intent(ctx context.Context, message string) (Match, error) {
	return x.find(ctx, fieldIntent, &x.intents, message)
}

// Answer finds the curated answer to a message.
func (x *Index) Answer(ctx context.Context, message string) (Match, error) {
	return x.find(ctx, fieldAnswer, &x.answers, message)
}

// find compares a message with the candidates of a shelf. Two targets that are about as likely are none: to ask is better than to guess.
// Errors: that of the context.
func (x *Index) find(ctx context.Context, field field, s *shelf, message string) (Match, error) {
	asked := words(message, maxWords)
	candidates, err := x.search.candidates(ctx, field, s, asked)
	if err != nil || len(candidates) == 0 {
		return none, err
	}
	byTarget, known := make(map[int]float64), make(map[int]float64)
	for _, at := range candidates {
		e := &s.entries[at]
		if _, done := known[e.target]; !done {
			known[e.target] = s.covered(asked, s.vocabulary[e.target])
		}
		byTarget[e.target] = max(byTarget[e.target], s.confidence(asked, e, known[e.target]))
	}
	found := make([]Match, 0, len(byTarget))
	for target, confidence := range byTarget {
		found = append(found, Match{target, confidence})
	}
	slices.SortFunc(found, func(a, b Match) int {
		return cmp.Or(cmp.Compare(b.Confidence, a.Confidence), cmp.Compare(a.Target, b.Target))
	})
	best := found[0]
	if len(found) > 1 && best.Confidence < certain && best.Confidence-found[1].Confidence < ambiguous {
		return none, nil
	}
	return best, nil
}

// weight is what a word weighs. One that the shelf does not have is as telling as one that a single target has.
func (s *shelf) weight(w *word) float64 {
	rarity, known := s.rarity[w.stem]
	if !known {
		rarity = 1
	}
	return weights[w.kind] * rarity
}

// confidence tells how likely a message that has the words asked means what an entry says. known is the share of these words that its
// target has in any of its entries.
func (s *shelf) confidence(asked []word, e *entry, known float64) float64 {
	recall := s.covered(e.words, asked)
	precision := (s.covered(asked, e.words) + known) / 2
	return math.Sqrt(recall * precision)
}

// covered is the share of words, by their weight, that are also among others.
func (s *shelf) covered(words, others []word) float64 {
	var all, there float64
	for i := range words {
		weight := s.weight(&words[i])
		all += weight
		there += weight * nearest(&words[i], others)
	}
	if all == 0 {
		return 0
	}
	return there / all
}

// nearest is the greatest similarity of a word to one of others.
func nearest(w *word, others []word) float64 {
	best := 0.0
	for i := range others {
		if best = max(best, similarity(w, &others[i])); best == 1 {
			break
		}
	}
	return best
}
