package expr

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/structpb"
)

var jsonValue = reflect.TypeFor[*structpb.Value]()

// text writes a value as people read it: a whole number without a fraction, a time in RFC 3339, a duration in seconds, a list or a map as
// JSON. Null, and what has no written form, is nothing.
func text(value ref.Val) string {
	switch v := value.(type) {
	case types.String:
		return string(v)
	case types.Int:
		return strconv.FormatInt(int64(v), 10)
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10)
	case types.Double:
		number := float64(v)
		if math.IsNaN(number) || math.IsInf(number, 0) {
			return ""
		}
		return strconv.FormatFloat(number, 'f', -1, 64)
	case types.Bool:
		return strconv.FormatBool(bool(v))
	case types.Bytes:
		if !utf8.Valid(v) {
			return ""
		}
		return string(v)
	case types.Timestamp:
		return v.Format(time.RFC3339Nano)
	case types.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s"
	case traits.Lister, traits.Mapper:
		return jsonText(v)
	default:
		return ""
	}
}

func jsonText(value ref.Val) string {
	native, err := value.ConvertToNative(jsonValue)
	if err != nil {
		return ""
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(native.(*structpb.Value).AsInterface()); err != nil {
		return ""
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// storable drops what no store and no receiver takes: zero characters and bytes that are no UTF-8.
func storable(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
