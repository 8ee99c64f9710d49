package rehearsal

import "strings"

// diff compares lines: those of both begin with two spaces, those that are only wanted with "- ", and those that were only got with "+ ".
// Nothing is given for lists that are the same.
func diff(want, got []string) []string {
	// common[i][j] is how many lines want[i:] and got[j:] have in common, in order.
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	if len(want) == len(got) && common[0][0] == len(want) {
		return nil
	}
	var lines []string
	add := func(mark, text string) {
		for line := range strings.Lines(text) {
			lines = append(lines, mark+strings.TrimSuffix(line, "\n"))
		}
	}
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			add("  ", want[i])
			i++
			j++
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			add("- ", want[i])
			i++
		default:
			add("+ ", got[j])
			j++
		}
	}
	return lines
}
