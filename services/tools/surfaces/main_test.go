package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestMergeIsRFC7396(t *testing.T) {
	// The objects of the examples in appendix A.
	for _, test := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var target, patch, want map[string]any
		for i, into := range []*map[string]any{&target, &patch, &want} {
			if err := json.Unmarshal([]byte(test[i]), into); err != nil {
				t.Fatal(err)
			}
		}
		if merge(target, patch); !reflect.DeepEqual(target, want) {
			t.Errorf("%s with %s: %v", test[0], test[1], target)
		}
	}
}

func TestSurfacesAndPathsBelongTogether(t *testing.T) {
	const change = `{"surfaces":{"/a":{"operation":{"x":1},"parameters":{"post":["new"]}}}}`
	for document, want := range map[string]string{
		`{"paths":{"/a/{b}":{"get":{},"post":{"parameters":["old"]}}},"components":{"schemas":{"S":{}}}}`: "",
		`{"paths":{"/b":{"get":{}}},"components":{"schemas":{}}}`:                                         "no surface /b",
		`{"paths":{},"components":{"schemas":{}}}`:                                                        "surface /a: no such path",
		`{"paths":{"/a":{"get":{"$ref":"#/components/schemas/T"}}},"components":{"schemas":{}}}`:          "schema T is referred to",
	} {
		var parsed map[string]any
		var changed changes
		if err := json.Unmarshal([]byte(document), &parsed); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(change), &changed); err != nil {
			t.Fatal(err)
		}
		err := apply(parsed, changed)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", document, err)
			}
			continue
		}
		got, _ := json.Marshal(parsed)
		if string(got) != `{"components":{"schemas":{}},"paths":{"/a/{b}":{"get":{"x":1},"post":{"parameters":["old","new"],"x":1}}}}` {
			t.Errorf("got %s, %v", got, err)
		}
	}
}
