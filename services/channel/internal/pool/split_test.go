package pool_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/pool"
)

func TestSplit(t *testing.T) {
	for name, test := range map[string]struct {
		n     int
		wants []int
		first int
		parts []int
	}{
		"nobody":                                {5, nil, 3, []int{}},
		"nothing":                               {0, []int{1, 2}, 0, []int{0, 0}},
		"enough for all":                        {9, []int{4, 5}, 0, []int{4, 5}},
		"more than all":                         {99, []int{4, 5}, 1, []int{4, 5}},
		"the same for each":                     {6, []int{9, 9, 9}, 0, []int{2, 2, 2}},
		"what one does not want goes to others": {10, []int{1, 9, 9}, 0, []int{1, 5, 4}},
		"and again":                             {12, []int{1, 3, 9}, 0, []int{1, 3, 8}},
		"somebody wants nothing":                {4, []int{0, 9, -1, 9}, 0, []int{0, 2, 0, 2}},
		"fewer than there are":                  {2, []int{1, 1, 1}, 0, []int{1, 1, 0}},
		"fewer than there are, another one first": {2, []int{1, 1, 1}, 5, []int{1, 0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.parts, pool.Split(test.n, test.wants, test.first))
		})
	}
}
