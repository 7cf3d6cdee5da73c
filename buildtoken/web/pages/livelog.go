package pages

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

const (
	// logPiece is how much of a log one event brings at most, in bytes.
	logPiece = 32 << 10
	// logBehind is how far a client may be behind the end of a log before it is
	// taken to the end: a browser can't show more than that.
	logBehind = 1 << 20
)

// logEvent is a piece of a log. Offsets are in bytes; the id of the event is To.
type logEvent struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Line is behind the last line's end up to To.
	Line int64 `json:"line"`
	// Text need not be UTF-8: the encoder makes it so.
	Text string `json:"text"`
	// Reset is set if text was left out before this event: the client must drop what it has.
	Reset bool `json:"reset,omitempty"`
}

// followLog sends a log as it grows, until it is complete or ctx ends. Its
// error means that the client is gone.
func (v *visit) followLog(ctx context.Context, out *web.Events, of logPlace) error {
	b, err := v.ctl.Build(ctx, of.full, of.number)
	if err != nil {
		return nil
	}
	log, _, err := v.WaitForLog(ctx, v.ctl, b.Item.ID)
	if err != nil || log == nil {
		return nil // the page says what became of it
	}
	defer func() { _ = log.Close() }() // only read
	at := v.startOf()
	reset := at < 0
	if reset {
		at = -1
	}
	line := max(at, 0)
	piece := make([]byte, logPiece)
	for last := false; ; {
		end, complete, err := log.Wait(ctx, at)
		if err != nil {
			return nil
		}
		at = min(at, end)
		if reset || end-at > logBehind {
			from := max(end-tailShown, 0)
			text, err := readPart(log, from, end)
			if err != nil {
				return nil // the disk fails; the page says what it had
			}
			if from > 0 {
				from += int64(lineStart(text))
			}
			at, line, reset = from, from, true
		}
		for at < end || reset {
			n, err := log.ReadAt(piece[:min(end-at, logPiece)], at)
			if err != nil && !errors.Is(err, io.EOF) {
				return nil
			}
			text := piece[:n]
			if at+int64(len(text)) < end || !complete {
				text = text[:web.WholeRunes(text)]
			}
			if len(text) == 0 && !reset {
				break
			}
			e := logEvent{From: at, To: at + int64(len(text)), Text: string(text), Reset: reset}
			if nl := bytes.LastIndexByte(text, '\n'); nl >= 0 {
				line = at + int64(nl) + 1
			}
			e.Line, at, reset = line, e.To, false
			if err := out.SendJSON("log", strconv.FormatInt(at, 10), e); err != nil {
				return err
			}
			if len(text) == 0 {
				break
			}
		}
		if complete || last {
			return nil
		}
		last = !log.Settle(ctx)
	}
}
