package grpcserver

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// linesPerSecond is how many lines of one level are written a second. A stranger who sends ten thousand bad calls a second, or a
// store that is down, must not fill the disk; the metrics count them all.
const linesPerSecond = 100

// sampledLog writes lines about calls, each with its request id, and bounds how many above the debug level.
type sampledLog struct {
	logger *slog.Logger
	clock  clock.Clock

	mu     sync.Mutex
	levels map[slog.Level]*lineCount
}

type lineCount struct {
	second     int64
	written    int
	suppressed int
}

func newSampledLog(logger *slog.Logger, c clock.Clock) *sampledLog {
	return &sampledLog{logger: logger, clock: c, levels: make(map[slog.Level]*lineCount)}
}

func (l *sampledLog) enabled(ctx context.Context, level slog.Level) bool {
	return l.logger.Enabled(ctx, level)
}

// log writes a line that begins with the request id. Beyond the bound it only counts; the first line of the next second says in
// "suppressed" how many were left out.
func (l *sampledLog) log(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if !l.logger.Enabled(ctx, level) {
		return
	}
	line := make([]slog.Attr, 0, len(attrs)+2)
	line = append(line, slog.String("request_id", RequestID(ctx)))
	line = append(line, attrs...)
	if level > slog.LevelDebug {
		suppressed, write := l.admit(level)
		if !write {
			return
		}
		if suppressed > 0 {
			line = append(line, slog.Int("suppressed", suppressed))
		}
	}
	l.logger.LogAttrs(ctx, level, message, line...)
}

func (l *sampledLog) admit(level slog.Level) (suppressed int, write bool) {
	second := l.clock.Now().Unix()
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.levels[level]
	if count == nil {
		count = &lineCount{}
		l.levels[level] = count
	}
	if count.second != second {
		suppressed = count.suppressed
		*count = lineCount{second: second}
	}
	if count.written >= linesPerSecond {
		count.suppressed++
		return 0, false
	}
	count.written++
	return suppressed, true
}
