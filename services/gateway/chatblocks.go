package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// The header fields of a stream: what keeps proxies from holding blocks back, or changing them.
var noCache, noBuffering = []string{"no-cache, no-transform"}, []string{"no"}

// blockWriter writes an answer block by block.
type blockWriter struct {
	gateway    *Gateway
	call       *call
	controller *http.ResponseController
	buffer     []byte
}

// begin sends the header at once.
func (w *blockWriter) begin(contentType string, begun *agentv1.ChatBegun) error {
	header := w.call.writer.Header()
	header["Cache-Control"] = noCache
	header["X-Accel-Buffering"] = noBuffering
	header.Set("Content-Type", contentType)
	header[headerMessageID] = []string{begun.GetId()}
	w.call.writer.WriteHeader(http.StatusOK)
	return w.block(nil)
}

// block sends bytes at once.
func (w *blockWriter) block(content []byte) error {
	// The deadline is of each block: a caller that reads slowly may follow for as long as any other. Writers that have none are of tests.
	_ = w.controller.SetWriteDeadline(time.Now().Add(blockTimeout)) //nolint:forbidigo // connections run on the machine's time
	if _, err := w.call.writer.Write(content); err != nil {
		return errCallerGone
	}
	if err := w.controller.Flush(); err != nil {
		return errCallerGone
	}
	return nil
}

// writePlain writes an answer as plain text, and nothing but the answer. The error is why it is not whole.
func (w *blockWriter) writePlain(first *agentv1.ChatEvent, stream chatStream) error {
	if err := w.begin(plainType, first.GetBegun()); err != nil {
		return err
	}
	whole := false
	for {
		event, err := stream.next()
		if errors.Is(err, io.EOF) && whole {
			return nil
		}
		if err != nil {
			return notWhole(err)
		}
		whole = whole || event.GetDone() != nil
		if text := event.GetToken().GetText(); text != "" {
			w.buffer = append(w.buffer[:0], text...)
			if err := w.block(w.buffer); err != nil {
				return err
			}
		}
	}
}

// notWhole is what a stream that ended without the last event failed with.
func notWhole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// received is what came of a stream.
type received struct {
	event *agentv1.ChatEvent
	err   error
}

// writeEvents writes an answer as server-sent events (HTML standard, section 9.2). A failure is an event too; the error is why the
// answer is not whole. stop ends the stream.
func (w *blockWriter) writeEvents(ctx context.Context, first *agentv1.ChatEvent, stream chatStream, stop context.CancelFunc) error {
	if err := w.begin(eventsType, first.GetBegun()); err != nil {
		return err
	}
	events := make(chan received)
	go func() {
		defer close(events)
		for {
			event, err := stream.next()
			select {
			case events <- received{event, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer func() {
		stop()
		for range events { // nothing of the stream outlives the call
			continue
		}
	}()
	last := first.GetId()
	whole := false
	timer := w.gateway.clock.NewTimer(commentInterval)
	defer timer.Stop()
	for {
		select {
		case next := <-events:
			timer.Stop()
			switch {
			case errors.Is(next.err, io.EOF) && (whole || last == first.GetId()):
				return nil // also when there was nothing behind the place that was asked for
			case next.err != nil:
				err := notWhole(next.err)
				w.fail(err, last)
				return err
			}
			last = next.event.GetId()
			whole = whole || next.event.GetDone() != nil
			w.buffer = appendEventOf(w.buffer[:0], next.event)
			if err := w.block(w.buffer); err != nil {
				return err
			}
			timer.Reset(commentInterval)
		case <-timer.C():
			if err := w.block([]byte(": keep-alive\n\n")); err != nil {
				return err
			}
			timer.Reset(commentInterval)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fail writes a failure. It has the id of the event before it: that is where to go on.
func (w *blockWriter) fail(err error, last string) {
	if w.call.request.Context().Err() != nil {
		return
	}
	made := shapeProblem(refusalOf(err, w.call), place{path: w.call.path, requestID: w.call.requestID})
	w.buffer = append(appendEventHead(w.buffer[:0], last, "error"), made.body...)
	_ = w.block(append(w.buffer, "\n\n"...)) // the connection is cut either way
}

func appendEventHead(dst []byte, id, name string) []byte {
	dst = append(append(dst, "id: "...), id...)
	dst = append(append(dst, "\nevent: "...), name...)
	return append(dst, "\ndata: "...)
}

// appendEventOf writes an event. JSON has no line ends, so each is one line of data.
func appendEventOf(dst []byte, event *agentv1.ChatEvent) []byte {
	switch e := event.GetEvent().(type) {
	case *agentv1.ChatEvent_Token:
		dst = messagejson.AppendString(append(appendEventHead(dst, event.GetId(), "token"), `{"text":`...), e.Token.GetText())
		dst = append(dst, '}')
	case *agentv1.ChatEvent_Message:
		dst = messagejson.Append(appendEventHead(dst, event.GetId(), "message"), e.Message)
	case *agentv1.ChatEvent_Done:
		dst = appendChatAnswer(appendEventHead(dst, event.GetId(), "done"), e.Done.GetId(), e.Done.GetMessages(), e.Done.GetInterrupted())
	default:
		return dst // begun, which is the header
	}
	return append(dst, "\n\n"...)
}

// appendChatAnswer writes a whole answer in the documented form, "sendMensages" as it is spelled there. The mark of an answer that was
// stopped is there only when it was.
func appendChatAnswer(dst []byte, id string, messages []*messagev1.Message, interrupted bool) []byte {
	dst = messagejson.AppendString(append(dst, `{"id":`...), id)
	dst = append(dst, `,"sendMensages":[`...)
	for i, m := range messages {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = messagejson.Append(dst, m)
	}
	dst = append(dst, ']')
	if interrupted {
		dst = append(dst, `,"interrupted":true`...)
	}
	return append(dst, '}')
}

// appendStopped writes what became of a call to stop.
func appendStopped(dst []byte, stopped *agentv1.StopChatResponse) []byte {
	if stopped.GetId() == "" {
		return append(dst, `{"message":"Nenhuma resposta em andamento."}`...)
	}
	dst = messagejson.AppendString(append(dst, `{"id":`...), stopped.GetId())
	return append(dst, `,"message":"Resposta interrompida."}`...)
}
