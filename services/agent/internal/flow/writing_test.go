package flow_test

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// TestPiecesAndMessagesAgree has texts of any length in pieces of any length: what is seen is what is said, within the limits of a message.
func TestPiecesAndMessagesAgree(t *testing.T) {
	program := compile(t, shop)
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.OneOf(
			rapid.StringN(0, 40, -1),
			rapid.Map(rapid.IntRange(1, 6000), func(n int) string { return strings.Repeat("ã", n) }),
			rapid.SampledFrom([]string{" ", "\n", "\n\n", "\x00", "\u0085", "a b"}),
		)
		pieces := rapid.SliceOfN(piece, 1, 30).Draw(t, "pieces")
		for i := range pieces {
			pieces[i] = strings.ToValidUTF8(pieces[i], "")
		}
		sink := &told{}
		result, err := program.Run(context.Background(), flow.Turn{
			Text: other, Now: now, Model: &scripted{script: []answerOf{says(pieces...)}}, NewID: func() string { return "" },
		}, sink)
		if err != nil {
			t.Fatal(err)
		}
		if result.Fault != "" { // nothing but blanks
			return
		}
		if sink.broken != nil || strings.Join(sink.pieces, "") != strings.Join(textsOf(result), "") {
			t.Fatal("pieces and messages differ")
		}
		for _, text := range textsOf(result) {
			if n := utf8.RuneCountInString(text); n < 1 || n > 10_000 || strings.ContainsAny(text, "\x00\u0085") || strings.TrimSpace(text) == "" {
				t.Fatalf("a message of %d characters", n)
			}
		}
	})
}

func TestALongTextBreaksWhereItReads(t *testing.T) {
	word := strings.Repeat("a", 99) + " "
	for name, c := range map[string]struct {
		text string
		want []int // characters of each message
	}{
		"one message":      {strings.Repeat("a", 10_000), []int{10_000}},
		"one more":         {strings.Repeat("a", 10_001), []int{10_000, 1}},
		"behind a word":    {strings.Repeat(word, 100), []int{9_600, 400}},
		"behind a line":    {strings.Repeat(word, 91) + "\n" + strings.Repeat(word, 20), []int{9_101, 2_000}},
		"far more":         {strings.Repeat("a", 25_000), []int{10_000, 10_000, 5_000}},
		"blanks between":   {strings.Repeat("a", 9_700) + " \n \n b", []int{9_701, 1}},
		"not too early":    {strings.Repeat("a", 8_000) + "\n" + strings.Repeat("a", 500), []int{8_501}},
		"in many messages": {strings.Repeat(word, 300), []int{9_600, 9_600, 9_600, 1_200}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 7, len(c.text)} {
				var pieces []string
				for at := 0; at < len(c.text); at += size {
					pieces = append(pieces, c.text[at:min(at+size, len(c.text))])
				}
				result, err := ask(t, compile(t, shop), &scripted{script: []answerOf{says(pieces...)}}, &told{}, other)
				require.NoError(t, err)
				var got []int
				for _, text := range textsOf(result) {
					got = append(got, utf8.RuneCountInString(text))
				}
				require.Equal(t, c.want, got)
			}
		})
	}
}

func TestTooMuchTextIsCutShort(t *testing.T) {
	m := &scripted{script: []answerOf{says(strings.Repeat("a", flow.MaxOutput))}}
	result, err := ask(t, compile(t, shop), m, &told{}, other)
	require.NoError(t, err)
	require.Empty(t, result.Stopped)
	m = &scripted{script: []answerOf{says(strings.Repeat("a", flow.MaxOutput), "b", "c")}}
	sink := &told{}
	result, err = ask(t, compile(t, shop), m, sink, other)
	require.NoError(t, err)
	require.Equal(t, "the answer is too large", result.Stopped)
	require.Equal(t, flow.NotUnderstood, result.Messages[len(result.Messages)-1].GetText().GetText())
	require.Equal(t, result.Messages, sink.messages)
}

func TestAHalfAnswerThatWasTooLargeLeavesRoomForTheWhole(t *testing.T) {
	m := &scripted{script: []answerOf{fails("cut_off", strings.Repeat("a", flow.MaxOutput+1))}}
	result, err := ask(t, compile(t, shop), m, flow.Discard, other)
	require.NoError(t, err)
	require.Equal(t, []string{"Não entendi."}, textsOf(result))
	require.Empty(t, result.Stopped)

	// What is cut short is whole: no tool runs any more.
	m = &scripted{script: []answerOf{{pieces: []string{strings.Repeat("a", flow.MaxOutput+1)}, uses: []flow.Use{{Tool: "ping"}}}}}
	calls := &stock{}
	result, err = compile(t, shop).Run(t.Context(), flow.Turn{
		Text: other, Now: now, Model: m, Caller: calls, NewID: func() string { return "" },
	}, flow.Discard)
	require.NoError(t, err)
	require.NotEmpty(t, result.Stopped)
	require.Empty(t, calls.urls)
}
