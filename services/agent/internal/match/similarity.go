package match

import "math/bits"

const (
	sameStem   = 0.97 // "pedido", "pedidos"
	sameRoot   = 0.86 // "rastrear", "rastreio"
	oneSlip    = 0.88 // "pedido", "peddio"
	twoSlips   = 0.72 // "atendimento", "atemdimeto"
	minRoot    = 5    // letters that two words must have in common at their beginning to be of one root
	minOneSlip = 4    // letters of a word in which one may be wrong
	minTwoSlip = 8    // letters of a word in which two may be wrong
)

// slips is how many letters of a word may be wrong.
func slips(surface string) int {
	switch {
	case len(surface) >= minTwoSlip:
		return 2
	case len(surface) >= minOneSlip:
		return 1
	default:
		return 0
	}
}

// similarity tells how likely two words are meant to be the same, 0 to 1.
func similarity(a, b *word) float64 {
	switch {
	case a.surface == b.surface:
		return 1
	case a.stem == b.stem:
		return sameStem
	case a.kind != content || b.kind != content:
		// Short and frequent words lie close to each other, and figures too, and mean different things.
		return 0
	}
	// A slip changes which letters there are by two at most.
	if allowed := min(slips(a.surface), slips(b.surface)); bits.OnesCount32(a.letters^b.letters) <= 2*allowed {
		switch wrong := distance(a.surface, b.surface, allowed); {
		case wrong > allowed:
		case wrong == 1:
			return oneSlip
		default:
			return twoSlips
		}
	}
	if root := prefix(a.stem, b.stem); root >= minRoot && root >= min(len(a.stem), len(b.stem))-1 {
		return sameRoot
	}
	return 0
}

// prefix is how many bytes two words have in common at their beginning.
func prefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// maxDistanceLength bounds the words whose distance is measured.
const maxDistanceLength = 32

// distance is how many letters must be added, taken away, changed, or swapped with their neighbours to make b of a; limit+1 when it is more than limit.
func distance(a, b string, limit int) int {
	if limit == 0 || len(a) > maxDistanceLength || len(b) > maxDistanceLength || len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	var rows [3][maxDistanceLength + 1]int
	before, above, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit {
			return limit + 1
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
