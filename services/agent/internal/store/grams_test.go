package store

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGrams(t *testing.T) {
	require.Empty(t, gramsOf("acme", ofText, "ab"))
	require.Len(t, gramsOf("acme", ofText, "aaaa"), 1, "each once")
	h := fnv.New32a()
	_, _ = h.Write([]byte("acme\x00\x01"))
	for _, r := range "aé👍" {
		_, _ = h.Write(binary.LittleEndian.AppendUint32(nil, uint32(r)))
	}
	require.Equal(t, []uint32{h.Sum32()}, gramsOf("acme", ofText, "aé👍"))
	require.NotEqual(t, gramsOf("acme", ofText, "abc"), gramsOf("other", ofText, "abc"))
	require.NotEqual(t, gramsOf("acme", ofText, "abc"), gramsOf("acme", ofMetadata, "abc"))

	// A query's are among those of each text that has it.
	for _, most := range []int{1, 4, 100} {
		got := queryGrams("acme", ofText, "segunda via", most)
		require.Len(t, got, min(most, 9))
		for _, hash := range got {
			require.True(t, slices.Contains(gramsOf("acme", ofText, "quero a segunda via do boleto"), hash))
		}
	}
	rarest := gramsOf("acme", ofText, "x77")[0]
	require.Equal(t, []uint32{rarest}, queryGrams("acme", ofText, "protocolo x77", 1))
}
