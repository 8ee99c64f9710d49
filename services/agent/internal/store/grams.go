package store

import (
	"hash/fnv"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind keeps the trigrams of messages and those of metadata apart, so that neither search passes over the other's.
type kind byte

const (
	ofText kind = iota + 1
	ofMetadata
)

// minGram is how many characters a gram has.
const minGram = 3

// hasTrigram reports whether an index of trigrams knows a text.
func hasTrigram(text string) bool { return utf8.RuneCountInString(text) >= minGram }

// gramsOf are the hashes of a text's trigrams together with the instance, each once.
func gramsOf(instance string, of kind, text string) []uint32 {
	runes := []rune(text)
	hashes := make([]uint32, 0, len(runes))
	begun := beginGram(instance, of)
	for i := 0; i+minGram <= len(runes); i++ {
		hashes = append(hashes, begun.with(runes[i:i+minGram]))
	}
	slices.Sort(hashes)
	return slices.Compact(hashes)
}

// queryGrams are those of a query that are probably the rarest, that many at most, and those first that stand apart: two that overlap are
// in about the same texts.
func queryGrams(instance string, of kind, text string, most int) []uint32 {
	type gram struct{ at, rarity int }
	runes := []rune(text)
	var all []gram
	for i := 0; i+minGram <= len(runes); i++ {
		all = append(all, gram{i, rarity(runes[i]) + rarity(runes[i+1]) + rarity(runes[i+2])})
	}
	slices.SortStableFunc(all, func(a, b gram) int { return b.rarity - a.rarity })
	begun := beginGram(instance, of)
	var hashes []uint32
	var chosen []int
	for _, apart := range []bool{true, false} {
		for _, g := range all {
			hash := begun.with(runes[g.at : g.at+minGram])
			overlaps := slices.ContainsFunc(chosen, func(at int) bool { return at-minGram < g.at && g.at < at+minGram })
			if len(hashes) < most && !slices.Contains(hashes, hash) && (!apart || !overlaps) {
				hashes, chosen = append(hashes, hash), append(chosen, g.at)
			}
		}
	}
	return hashes
}

// gramHash is an FNV-1a hash that has begun.
type gramHash uint32

func beginGram(instance string, of kind) gramHash {
	h := fnv.New32a()
	_, _ = h.Write([]byte(instance)) // never fails
	_, _ = h.Write([]byte{0, byte(of)})
	return gramHash(h.Sum32())
}

// with goes on with characters. It is what fnv does, without a byte of memory.
func (h gramHash) with(runes []rune) uint32 {
	const prime = 16777619
	hash := uint32(h)
	for _, r := range runes {
		for range 4 {
			hash = (hash ^ uint32(r)&0xff) * prime
			r >>= 8
		}
	}
	return hash
}

// letters are the characters of Portuguese texts, the most frequent first.
const letters = " aeosrindmutclpvghqbfzjx"

// rarity is how rare a character is, about: a letter among those of Portuguese texts, and everything else behind them.
func rarity(r rune) int {
	if i := strings.IndexRune(letters, r); i >= 0 {
		return i
	}
	return len(letters)
}
