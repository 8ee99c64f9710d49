// Package telemetry makes what a process tells about itself: its log, its metrics registry and its traces.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// The forms that a log can have.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// NewLogger returns a logger that writes a line a record to w: "text" (logfmt, for a terminal) or "json". The level is "debug",
// "info", "warn" or "error". Line breaks and terminal codes inside values are escaped in both forms, so what a stranger sends can
// neither forge a line nor move a cursor. Times are UTC.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var least slog.Level
	switch strings.ToLower(level) {
	case "debug":
		least = slog.LevelDebug
	case "info":
		least = slog.LevelInfo
	case "warn":
		least = slog.LevelWarn
	case "error":
		least = slog.LevelError
	default:
		return nil, fmt.Errorf("unknown log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: replace}
	switch strings.ToLower(format) {
	case FormatText:
		return slog.New(slog.NewTextHandler(w, options)), nil
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("unknown log format %q: want %s or %s", format, FormatText, FormatJSON)
	}
}

// replace makes every time UTC and takes from texts what slog's JSON form leaves as it is: DEL and the C1 controls, which some
// terminals obey as they obey ESC.
func replace(_ []string, attr slog.Attr) slog.Attr {
	switch attr.Value.Kind() {
	case slog.KindTime:
		attr.Value = slog.TimeValue(attr.Value.Time().UTC())
	case slog.KindString:
		if text := attr.Value.String(); strings.ContainsFunc(text, hidden) {
			attr.Value = slog.StringValue(escape(text))
		}
	case slog.KindAny:
		if err, ok := attr.Value.Any().(error); ok && err != nil {
			attr.Value = slog.StringValue(escape(err.Error()))
		}
	}
	return attr
}

// hidden are the characters that a terminal may obey and slog may let through: DEL, C1 controls, and the bidirectional
// overrides, which make a line read otherwise than it is.
func hidden(r rune) bool {
	return r == 0x7f || r >= 0x80 && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func escape(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
