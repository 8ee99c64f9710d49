package pool

// Split divides n among those who want some: everyone the same, and what one
// does not want goes to the others. The one numbered first, from 0, begins where
// n is less than they are; it may be any number that is not negative.
func Split(n int, wants []int, first int) []int {
	parts := make([]int, len(wants))
	for n > 0 {
		asking := 0
		for i, want := range wants {
			if parts[i] < want {
				asking++
			}
		}
		if asking == 0 {
			break
		}
		each := max(1, n/asking)
		for i := range wants {
			i = (i + first) % len(wants)
			more := min(each, max(0, wants[i]-parts[i]), n)
			parts[i] += more
			n -= more
		}
	}
	return parts
}
