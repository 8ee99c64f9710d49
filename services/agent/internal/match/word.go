package match

import (
	_ "embed"
	"strings"

	"github.com/blevesearch/bleve/v2/analysis/tokenizer/unicode"
	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/portuguese"

	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

// maxWords is how many words of a message are looked at; what a person wants is said in fewer.
const maxWords = 40

// word is a word of a text.
type word struct {
	// surface is the word without case and accents, stem its root.
	surface, stem string
	kind          wordKind
	// letters has a bit for each letter of surface, to tell quickly that two words have little in common.
	letters uint32
}

func newWord(surface string) word {
	w := word{surface: surface, stem: stem(surface), kind: kinds[surface]}
	if strings.Trim(surface, "0123456789") == "" {
		w.kind = figure
	}
	for i := range len(surface) {
		w.letters |= 1 << (surface[i] & 31)
	}
	return w
}

// wordKind says how much a word tells.
type wordKind int8

const (
	content wordKind = iota
	question
	filler
	figure
)

// weights are what the kinds of words weigh: fillers are in every sentence, question words in many, and figures are the number of some
// order.
var weights = [...]float64{content: 1, question: 0.3, filler: 0.12, figure: 0.3}

// kinds are the words that are not content, figures aside.
var kinds = func() map[string]wordKind {
	known := make(map[string]wordKind)
	for _, w := range strings.Fields(fillers) {
		known[w] = filler
	}
	for _, w := range strings.Fields("quando quanto quantos quanta quantas onde aonde quem porque") {
		known[w] = question
	}
	return known
}()

// fillers are articles, prepositions, pronouns, auxiliary verbs, greetings and politeness, folded.
//
//go:embed fillers.txt
var fillers string

// shorthand are the usual ways to write words short in a chat.
var shorthand = map[string]string{
	"vc": "voce", "vcs": "voces", "q": "que", "oq": "que", "pq": "porque", "tb": "tambem", "tbm": "tambem", "hj": "hoje", "obg": "obrigado",
	"pfv": "favor", "pf": "favor", "n": "nao", "cade": "onde", "kd": "onde", "ta": "esta", "to": "estou", "pra": "para", "pro": "para",
	"qto": "quanto", "qnto": "quanto", "qdo": "quando", "qndo": "quando", "msg": "mensagem", "tel": "telefone", "cel": "celular", "blz": "ola", "eh": "e",
	"mto": "muito", "end": "endereco",
}

var tokenizer = unicode.NewUnicodeTokenizer()

// words splits a text into at most limit words; 0 is no limit.
func words(text string, limit int) []word {
	var found []word
	for _, token := range tokenizer.Tokenize([]byte(fold.String(text))) {
		if limit > 0 && len(found) == limit {
			break
		}
		surface := string(token.Term)
		if long, ok := shorthand[surface]; ok {
			surface = long
		}
		found = append(found, newWord(surface))
	}
	return found
}

// stem gives the root of a folded word by the Snowball algorithm for Portuguese. That needs accents to know some endings, so the common
// ones get theirs back.
func stem(folded string) string {
	switch {
	case strings.HasSuffix(folded, "cao"):
		folded = strings.TrimSuffix(folded, "cao") + "ção"
	case strings.HasSuffix(folded, "coes"):
		folded = strings.TrimSuffix(folded, "coes") + "ções"
	case strings.HasSuffix(folded, "avel"):
		folded = strings.TrimSuffix(folded, "avel") + "ável"
	}
	env := snowballstem.NewEnv(folded)
	portuguese.Stem(env)
	return fold.String(env.Current())
}
