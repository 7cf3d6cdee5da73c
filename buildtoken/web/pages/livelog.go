package pages

import (
	"context"
	"html/template"
	"slices"
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

// logEvent is a piece of a log. The id of the event is the place behind its whole rows.
type logEvent struct {
	// From and To are where the whole rows begin and end, in bytes. End is behind the
	// row that has no end yet.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	End  int64 `json:"end"`
	// HTML has the whole rows, Rest the row that has no end yet.
	HTML template.HTML `json:"html"`
	Rest template.HTML `json:"rest"`
	// Reset is set if text was left out before this event: the client must drop what it has.
	Reset bool `json:"reset,omitempty"`
}

// followLog sends a log as it grows, until it is complete. An error means that the client does
// not have all of it: ctx has ended, the client is gone, or the log cannot be read.
func (v *visit) followLog(ctx context.Context, out *web.Events, of buildOf) error {
	b, err := v.ctl.Build(ctx, of.job, of.number)
	if err != nil {
		return err
	}
	reader, _, err := v.WaitForLog(ctx, v.ctl, b.Item.ID)
	if err != nil || reader == nil {
		return err // without a log, the page shows why
	}
	log := &openLog{Reader: reader, key: keyOf(b), started: b.Started}
	defer func() { _ = log.Close() }() // only read
	w := new(lineWriter)
	var reset bool
	if w.at, reset, err = v.startOf(ctx, log); err != nil {
		return err
	}
	var rest []byte // the text after the whole rows that has been read
	at := func() int64 { return w.at.at + int64(len(rest)) }
	for last := false; ; {
		end, complete, err := log.Wait(ctx, wanted(at(), reset))
		if err != nil {
			return err
		}
		if w.at.at > end && (complete || !log.Shared()) { // the offset belongs to another log
			reset = true
		}
		if reset || end-at() > logBehind {
			if w.at, err = v.tail(ctx, log, end); err != nil {
				return err
			}
			rest, reset = nil, true
		}
		for at() < end || reset {
			e := logEvent{From: w.at.at, Reset: reset}
			e.End = min(end, at()-at()%logPiece+logPiece)
			if e.HTML, rest, err = v.piece(ctx, log, w, rest, e.End); err != nil {
				return err
			}
			e.To = w.at.at
			shown := rest
			if e.End < end || !complete {
				shown = rest[:web.WholeRunes(rest)]
			}
			e.Rest, reset = w.rest(shown), false
			if err := out.SendJSON("log", w.at.String(), e); err != nil {
				return err
			}
		}
		if complete || last {
			return nil
		}
		last = !log.Settle(ctx)
	}
}

// piece renders the whole rows up to an offset, and returns the text after them. head is the
// text that was read before. All readers of a busy log need the same pieces, so those that
// end at a multiple of logPiece are rendered once.
func (v *visit) piece(ctx context.Context, log *openLog, w *lineWriter, head []byte, to int64) (html template.HTML, rest []byte, err error) {
	render := func() (livePiece, error) {
		more, err := readPart(log.Reader, w.at.at+int64(len(head)), to)
		if err != nil {
			return livePiece{}, err
		}
		one := v.writerAt(context.WithoutCancel(ctx), log, w.at, to) // other readers wait for it
		rest := one.lines(slices.Concat(head, more))
		return livePiece{html: one.take(), at: one.at, stamps: one.stamps, rest: slices.Clone(rest)}, nil
	}
	var p livePiece
	if to%logPiece == 0 {
		p, err = v.kit.pieces.get(pieceKey{log.key, w.at, to}, render)
	} else {
		p, err = render()
	}
	if err != nil {
		return "", nil, err
	}
	w.at, w.stamps, w.started = p.at, p.stamps, log.started
	return p.html, p.rest, nil
}

// wanted returns the offset after which a client waits for text. A client that must be
// notified of the end does not wait.
func wanted(at int64, reset bool) int64 {
	if reset {
		return -1
	}
	return at
}

// tail returns the start of the first row that is shown of the end of a log.
func (v *visit) tail(ctx context.Context, log *openLog, size int64) (rowStart, error) {
	p, err := v.kit.rows.find(ctx, log, log.key, max(size-shownBytes, 0))
	if err != nil {
		return p, err
	}
	text, err := readPart(log.Reader, p.at, size)
	if err != nil {
		return p, err
	}
	p, _ = lastRows(p, text, len(text), shownRows)
	return p, nil
}

// startOf is where in a log a client wants to go on: at the row start of the last event that it
// has, or of its page, or at the line that holds an offset. With reset, it wants the end of
// the log.
func (v *visit) startOf(ctx context.Context, log *openLog) (at rowStart, reset bool, err error) {
	for _, text := range []string{v.R.Header.Get("Last-Event-ID"), v.R.URL.Query().Get("start")} {
		if p, ok := parseRowStart(text); ok {
			return p, false, nil
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			p, err := v.kit.rows.find(ctx, log, log.key, n)
			return p, n < 0, err
		}
	}
	return start(), false, nil
}
