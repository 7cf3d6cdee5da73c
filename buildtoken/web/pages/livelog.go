package pages

import (
	"context"
	"html/template"
	"slices"
	"strconv"

	"github.com/buildtoken/buildtoken/buildtoken/console"
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

// followLog sends a log as it grows, until its build has ended. An error means that the client
// does not have all of it: ctx has ended, the client is gone, or the log cannot be read.
func (v *visit) followLog(ctx context.Context, out *web.Events, of buildOf) error {
	b, err := v.ctl.Build(ctx, of.job, of.number)
	if err != nil {
		return err
	}
	f := &followed{visit: v, out: out}
	// Without a log, the page shows why.
	_, err = v.FollowLog(ctx, v.ctl, b.Item.ID, func(reader *console.Reader) error {
		return f.read(ctx, &openLog{Reader: reader, key: keyOf(b), started: b.Started})
	})
	return err
}

// followed is a log that is being sent.
type followed struct {
	*visit
	out   *web.Events
	w     *lineWriter // at the place behind the whole rows that were sent; nil before the first
	rest  []byte      // the text after them that has been read
	reset bool        // the client must drop what it has
}

func (f *followed) at() int64 { return f.w.at.at + int64(len(f.rest)) }

// read sends the log from the place where f is to its end.
func (f *followed) read(ctx context.Context, log *openLog) (err error) {
	if f.w == nil {
		f.w = new(lineWriter)
		if f.w.at, f.reset, err = f.startOf(ctx, log); err != nil {
			return err
		}
	}
	for last := false; ; {
		end, complete, err := log.Wait(ctx, wanted(f.at(), f.reset))
		if err != nil {
			return err
		}
		if f.w.at.at > end && (complete || !log.Shared()) { // the offset belongs to another log
			f.reset = true
		}
		if f.reset || end-f.at() > logBehind {
			if f.w.at, err = f.tail(ctx, log, end); err != nil {
				return err
			}
			f.rest, f.reset = nil, true
		}
		for f.at() < end || f.reset {
			e := logEvent{From: f.w.at.at, Reset: f.reset}
			e.End = min(end, f.at()-f.at()%logPiece+logPiece)
			if e.HTML, f.rest, err = f.piece(ctx, log, f.w, f.rest, e.End); err != nil {
				return err
			}
			e.To = f.w.at.at
			shown := f.rest
			if e.End < end || !complete {
				shown = f.rest[:web.WholeRunes(f.rest)]
			}
			e.Rest, f.reset = f.w.rest(shown), false
			if err := f.out.SendJSON("log", f.w.at.String(), e); err != nil {
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
