package pages

import (
	"bytes"
	"context"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

const (
	// shownBytes and shownRows are how much of a log a page has at most, and one request of
	// the script brings.
	shownBytes = 256 << 10
	shownRows  = 5000
	// beforeBytes and beforeRows are how much of that comes before a place.
	beforeBytes = 64 << 10
	beforeRows  = 1000
)

// consoleView is the region with the console.
type consoleView struct {
	// From and To are the place of the whole rows that are shown, in bytes. Size is the
	// size of the log.
	From, To, Size int64
	// Place is where the stream goes on.
	Place string
	Lines template.HTML
	// Rest is a row that has no end yet.
	Rest     template.HTML
	Complete bool
	Running  bool
	// Attached is set if the end of the log is shown.
	Attached bool
	// Skipped is the size of the log before From, as text for people; "" if that is 0.
	Skipped string
	// These are addresses, except File: Text is that of the whole log, File the name under
	// which browsers store it, Part that of parts of the log, Wide that of the page with
	// nothing but the log, Back that of the build's page (one of the two is empty), and Events
	// that of the event stream of the build's page.
	Text, File, Part, Wide, Back, Events string
	Find                                 findView
	Started                              time.Time
}

// findView is the form that finds text in the log, and its matches.
type findView struct {
	// Query is the text, Errors is set for lines that look like an error.
	Query  string
	Errors bool
	Active bool
	Count  int
	// Current is the number of the line that is shown, 0 for none.
	Current    int
	Prev, Next string
	// At is set if the address names a part of the log.
	At bool
}

// openLog is a log that is being shown.
type openLog struct {
	*console.Reader
	key      logKey
	started  time.Time // the build
	size     int64
	complete bool
}

// openLog opens the log of a build. The caller must close it.
func (v *visit) openLog(ctx context.Context, b queue.Build) (*openLog, error) {
	log, err := v.ctl.Log(ctx, b.Item.Job, b.Number)
	if err != nil {
		return nil, err
	}
	complete := !b.Running() && log.Complete() // before the size; that of a build that is to be resumed looks complete
	return &openLog{log, keyOf(b), b.Started, log.Size(), complete}, nil
}

func keyOf(b queue.Build) logKey { return logKey{b.Item.Job, b.Number, b.Started.UnixNano()} }

// writerAt returns what renders the log from a row up to an offset.
func (v *visit) writerAt(ctx context.Context, log *openLog, at rowStart, to int64) lineWriter {
	stamps, err := log.Times(ctx, at.at, to)
	if err != nil { // the log is worth more than its times
		v.Logger().Warn("times of a log cannot be read", zap.Error(err))
	}
	return lineWriter{at: at, stamps: stamps, started: log.started}
}

// console shows the log of a build: around the place that the address names, or its end.
func (v *visit) console(b queue.Build, at string, wide bool) (consoleView, error) {
	full := b.Item.Job
	view := consoleView{
		Running: b.Running(), Started: b.Started, Complete: !b.Running(), Attached: true, Text: at + "consoleText?ansi=none", File: fileOf(b), Place: start().String(),
		Part: web.BuildURL(v.base+own+"log/", full, b.Number), Wide: at + "console",
		Events: web.BuildURL(v.base+own+"events/", full, b.Number),
	}
	if wide {
		view.Wide, view.Back = "", at
	}
	asked, err := parseAsked(v.R.URL.Query())
	if err != nil {
		return view, err
	}
	view.Find = findView{Query: asked.query, Errors: asked.search.errors, Active: asked.search.active(), At: asked.given()}
	log, err := v.openLog(v.R.Context(), b)
	if missing(err) {
		return view, nil // not there yet, or no longer
	}
	if err != nil {
		return view, err
	}
	defer func() { _ = log.Close() }() // only read
	view.Complete, view.Size = log.complete, log.size
	if asked.to > log.size {
		return view, badAddress("the place is beyond the end of the log, which has %d bytes so far", log.size)
	}
	if asked.search.active() {
		if err := v.find(log, &asked, &view.Find); err != nil {
			return view, err
		}
	}
	return view, v.part(log, asked, &view)
}

// fileOf is the name of the file for the log of a build: FOLDER-JOB-NUMBER.log, with only
// those characters of names that every system takes.
func fileOf(b queue.Build) string {
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return '-'
	}, b.Item.Job)
	return strings.TrimLeft(name, ".-") + "-" + strconv.FormatInt(b.Number, 10) + ".log"
}

// find searches the log, and shows the first match if the address names no place.
func (v *visit) find(log *openLog, asked *asked, view *findView) error {
	if v.madePage != nil {
		v.madePage() // other pages should not wait for searches, which have a limit of their own
	}
	leave, err := v.kit.enterSearch(v.R.Context())
	if err != nil {
		return err
	}
	defer leave()
	f, err := asked.search.find(v.R.Context(), log, log.size, asked.from)
	if err != nil {
		return err
	}
	view.Count, view.Current = f.count, f.current
	if f.count == 0 {
		return nil
	}
	if asked.to < 0 {
		asked.from, asked.to = f.at, f.at
	}
	view.Prev, view.Next = asked.urlAt(f.prev), asked.urlAt(f.next)
	return nil
}

// part renders the part of the log that the address names.
func (v *visit) part(log *openLog, asked asked, view *consoleView) error {
	ctx := v.R.Context()
	var from, to int64
	if asked.to >= 0 {
		from = max(asked.from-beforeBytes, 0)
		to = min(asked.from+shownBytes-beforeBytes, log.size)
	} else {
		from, to = max(log.size-shownBytes, 0), log.size
	}
	p, err := v.kit.rows.find(ctx, log, log.key, from)
	if err != nil {
		return err
	}
	text, err := readPart(log.Reader, p.at, to)
	if err != nil {
		return err
	}
	if asked.to >= 0 {
		before := min(asked.from-p.at, int64(len(text)))
		p, text = lastRows(p, text, int(before), beforeRows)
		text = firstRows(text, shownRows)
	} else {
		p, text = lastRows(p, text, len(text), shownRows)
	}
	w := v.writerAt(ctx, log, p, p.at+int64(len(text)))
	w.marks = asked.marks()
	rest := w.chunks(text)
	end := w.at.at + int64(len(rest))
	if view.Attached = end == log.size; view.Attached {
		if !log.complete {
			rest = rest[:web.WholeRunes(rest)]
		}
		view.Rest = w.rest(rest)
	}
	view.From, view.To, view.Place, view.Lines = p.at, w.at.at, w.at.String(), w.take()
	if p.at > 0 {
		view.Skipped = size(p.at)
	}
	return nil
}

// lastRows drops rows at the start of a text that begins at p, until at most some of them
// are left before an offset in it.
func lastRows(p rowStart, text []byte, before, most int) (rowStart, []byte) {
	for rows := bytes.Count(text[:before], []byte{'\n'}); rows > most; rows-- {
		row, _ := cutRow(text)
		p, text = p.after(row), text[len(row):]
	}
	return p, text
}

// firstRows returns at most some rows at the start of a text.
func firstRows(text []byte, most int) []byte {
	at := 0
	for range most {
		row, ended := cutRow(text[at:])
		if !ended {
			return text
		}
		at += len(row)
	}
	return text[:at]
}

// readPart reads a part of a log.
func readPart(log *console.Reader, from, to int64) ([]byte, error) {
	text := make([]byte, max(to-from, 0))
	_, err := io.ReadFull(log.Part(from, to), text)
	return text, err
}

// logPart is a part of a log for the script.
type logPart struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	Size int64 `json:"size"`
	// Place is that of To.
	Place string        `json:"place"`
	HTML  template.HTML `json:"html"`
}

// logPart answers with the rows before ?before=, or those from ?after= on: both are
// offsets of rows. Without either, the log's first rows.
func (v *visit) logPart(full string, number int64) error {
	if !v.MayRead(full) {
		return web.ErrForbidden
	}
	if _, ok := v.Definition.Job(full); !ok {
		return web.ErrNotFound
	}
	b, err := v.ctl.Build(v.R.Context(), full, number)
	if err != nil {
		return err
	}
	query := v.R.URL.Query()
	before, err := offsetOf(query, "before")
	if err != nil {
		return err
	}
	after, err := offsetOf(query, "after")
	if err != nil {
		return err
	}
	log, err := v.openLog(v.R.Context(), b)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // only read
	part, err := v.rows(log, min(before, log.size), min(after, log.size))
	if err != nil {
		return err
	}
	v.WriteJSON(http.StatusOK, part)
	return nil
}

// rows renders rows up to before, or, if that is negative, from after on.
func (v *visit) rows(log *openLog, before, after int64) (logPart, error) {
	from, to := max(after, 0), min(max(after, 0)+shownBytes, log.size)
	back := before >= 0
	if back {
		from, to = max(before-shownBytes, 0), before
	}
	p, err := v.kit.rows.find(v.R.Context(), log, log.key, from)
	if err != nil {
		return logPart{}, err
	}
	text, err := readPart(log.Reader, p.at, to)
	if err != nil {
		return logPart{}, err
	}
	if back {
		p, text = lastRows(p, text, len(text), shownRows/2)
	} else {
		text = firstRows(text, shownRows/2)
	}
	w := v.writerAt(v.R.Context(), log, p, p.at+int64(len(text)))
	w.chunks(text)
	return logPart{From: p.at, To: w.at.at, Size: log.size, Place: w.at.String(), HTML: w.take()}, nil
}

// offsetOf reads an offset of a query, -1 if it has none.
func offsetOf(query url.Values, name string) (int64, error) {
	text := query.Get(name)
	if text == "" {
		return -1, nil
	}
	n, err := strconv.ParseUint(text, 10, 62)
	if err != nil {
		return 0, badAddress("the offset %s=%.40s is not a number of bytes", name, text)
	}
	return int64(n), nil
}
