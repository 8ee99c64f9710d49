package match

import (
	"context"
	"fmt"
	"strconv"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/index/scorch"
	"github.com/blevesearch/bleve/v2/search"
	"github.com/blevesearch/bleve/v2/search/collector"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index "github.com/blevesearch/bleve_index_api"
)

// field is a kind of texts in the index. The stems and the words of each are fields of their own.
type field string

const (
	fieldIntent  field = "intent"
	fieldAnswer  field = "answer"
	fieldPassage field = "passage"
)

func (f field) stems() string { return string(f) + ".stem" }
func (f field) words() string { return string(f) + ".word" }

// texts is the searcher of an index: a snapshot in memory that nothing writes to any more, so that there is nothing to close.
type texts struct{ reader index.IndexReader }

// newTexts indexes the entries of shelves.
func newTexts(intents, answers, passages *shelf) (t texts, err error) {
	queue := index.NewAnalysisQueue(1)
	defer queue.Close()
	written, err := scorch.NewScorch(scorch.Name, map[string]any{"path": ""}, queue)
	if err != nil {
		return texts{}, fmt.Errorf("make index: %w", err)
	}
	if err := written.Open(); err != nil {
		return texts{}, fmt.Errorf("open index: %w", err)
	}
	// The snapshot outlives its index, whose goroutines end here.
	defer func() {
		if closed := written.Close(); err == nil && closed != nil {
			t, err = texts{}, fmt.Errorf("close index: %w", closed)
		}
	}()
	batch := index.NewBatch()
	for field, s := range map[field]*shelf{fieldIntent: intents, fieldAnswer: answers, fieldPassage: passages} {
		for i := range s.entries {
			batch.Update(newDocument(field, i, s.entries[i].words))
		}
	}
	if err := written.Batch(batch); err != nil {
		return texts{}, fmt.Errorf("fill index: %w", err)
	}
	if t.reader, err = written.Reader(); err != nil {
		return texts{}, fmt.Errorf("read index: %w", err)
	}
	return t, nil
}

// newDocument is an entry as it is indexed. Its identifier begins with its kind, and ends with its place in the shelf.
func newDocument(f field, at int, words []word) *document.Document {
	doc := document.NewDocument(string(f) + ":" + strconv.Itoa(at))
	stems, surfaces := make(analysis.TokenStream, len(words)), make(analysis.TokenStream, len(words))
	for i, w := range words {
		stems[i] = &analysis.Token{Term: []byte(w.stem), Position: i + 1}
		surfaces[i] = &analysis.Token{Term: []byte(w.surface), Position: i + 1}
	}
	doc.AddField(document.NewTextFieldCustom(f.stems(), nil, nil, index.IndexField, ready(stems)))
	doc.AddField(document.NewTextFieldCustom(f.words(), nil, nil, index.IndexField, ready(surfaces)))
	return doc
}

// ready is an analyzer of a text whose words are known already.
type ready analysis.TokenStream

// Analyze implements analysis.Analyzer.
func (r ready) Analyze([]byte) analysis.TokenStream { return analysis.TokenStream(r) }

// candidates are the places of the entries that have most to do with the words asked, best first, at most maxCandidates. Errors: that of
// the context.
func (t *texts) candidates(ctx context.Context, f field, s *shelf, asked []word) ([]int, error) {
	if len(s.entries) == 0 || len(asked) == 0 {
		return nil, nil
	}
	scoring := search.GetScoringModelCallbackFn(func() string { return index.BM25Scoring })
	ctx = context.WithValue(ctx, search.GetScoringModelCallbackKey, scoring)
	wanted, err := t.wanted(ctx, f, s, asked)
	if err != nil {
		return nil, failed(ctx, err)
	}
	defer func() { _ = wanted.Close() }() // of a snapshot in memory, which holds nothing
	top := collector.NewTopNCollector(maxCandidates, 0, search.SortOrder{&search.SortScore{Desc: true}, &search.SortDocID{}})
	if err := top.Collect(ctx, wanted, t.reader); err != nil {
		return nil, failed(ctx, err)
	}
	places := make([]int, 0, len(top.Results()))
	for _, hit := range top.Results() {
		at, err := strconv.Atoi(hit.ID[len(f)+1:])
		if err != nil {
			return nil, fmt.Errorf("search index: %w", err)
		}
		places = append(places, at)
	}
	return places, nil
}

// failed is the error of a search. It is without the library's words: they could quote the person's.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("search index: error of kind %T", err)
}

// wanted finds entries that have any of the words asked. Words that the shelf does not have are looked for with slips, and by their root.
func (t *texts) wanted(ctx context.Context, f field, s *shelf, asked []word) (search.Searcher, error) {
	var (
		alternatives []search.Searcher
		options      search.SearcherOptions
	)
	add := func(one search.Searcher, err error) error {
		if err == nil {
			alternatives = append(alternatives, one)
		}
		return err
	}
	done := make(map[string]bool, len(asked))
	for i := range asked {
		w := &asked[i]
		if done[w.stem] {
			continue
		}
		done[w.stem] = true
		var err error
		if _, known := s.rarity[w.stem]; known {
			err = add(searcher.NewTermSearcher(ctx, t.reader, w.stem, f.stems(), weights[w.kind], options))
		} else if w.kind == content && len(w.surface) <= maxDistanceLength {
			if allowed := slips(w.surface); allowed > 0 {
				err = add(searcher.NewFuzzySearcher(ctx, t.reader, w.surface, 0, allowed, f.words(), oneSlip, options))
			}
			if err == nil && len(w.stem) >= minRoot {
				err = add(searcher.NewTermPrefixSearcher(ctx, t.reader, w.stem[:minRoot], f.stems(), sameRoot, options))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return searcher.NewDisjunctionSearcher(ctx, t.reader, alternatives, 1, options)
}
