package pages

import (
	"bytes"
	"errors"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

const (
	// tailShown is how much of the end of a log a page has, in bytes. The
	// script brings the rest as it is asked for.
	tailShown = 512 << 10
	// partMost is the size of the largest part of a log that one request returns.
	partMost = 512 << 10
)

// logPlace is whose log it is.
type logPlace struct {
	full   string
	number int64
}

// consoleView is the region with the console.
type consoleView struct {
	// From and To are the place of what is shown, in bytes; To is behind a
	// line's end while the log grows. Size is that of the log.
	From, To, Size int64
	// Style is that at To.
	Style string
	Lines template.HTML
	// Rest is a line that has no end yet.
	Rest     template.HTML
	Complete bool
	Running  bool
	// Skipped is how much comes before, as people read it; "" for nothing.
	Skipped string
	// Text is the whole log, Part where parts of it are, Wide the page with
	// nothing else, Back the other page; one of the two is empty. Events is the
	// stream of the build's page.
	Text, Part, Wide, Back, Events string
}

// console shows the end of a build's log.
func (v *visit) console(b queue.Build, at string, wide bool) (consoleView, error) {
	full := b.Item.Job
	view := consoleView{
		Running: b.Running(), Complete: !b.Running(), Text: at + "consoleText?ansi=none",
		Part: web.BuildURL(v.base+own+"log/", full, b.Number), Wide: at + "console",
		Events: web.BuildURL(v.base+own+"events/", full, b.Number),
	}
	if wide {
		view.Wide, view.Back = "", at
	}
	log, err := v.ctl.Log(v.R.Context(), full, b.Number)
	if missing(err) {
		return view, nil // not there yet, or no longer
	}
	if err != nil {
		return view, err
	}
	defer func() { _ = log.Close() }() // only read
	view.Complete = log.Complete()
	view.Size = log.Size()
	from := max(view.Size-tailShown, 0)
	text, err := readPart(log, from, view.Size)
	if err != nil {
		return view, err
	}
	if from > 0 {
		cut := lineStart(text)
		text, from = text[cut:], from+int64(cut)
		view.Skipped = size(from)
	}
	end := len(text)
	if !view.Complete {
		end = bytes.LastIndexByte(text, '\n') + 1
	}
	view.From, view.To = from, from+int64(end)
	var last style
	view.Lines, last = renderLog(text[:end], style{})
	view.Style = last.sequence()
	view.Rest, _ = renderLog(text[end:], last)
	return view, nil
}

// lineStart is where the first whole line starts. Without one, it is where
// the first whole character does.
func lineStart(text []byte) int {
	if at := bytes.IndexByte(text, '\n'); at >= 0 && at+1 < len(text) {
		return at + 1
	}
	for at := range min(len(text), utf8.UTFMax) {
		if utf8.RuneStart(text[at]) {
			return at
		}
	}
	return 0
}

// readPart reads a part of a log, up to its end.
func readPart(log *console.Reader, from, to int64) ([]byte, error) {
	text := make([]byte, max(to-from, 0))
	n, err := log.ReadAt(text, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return text[:n], nil
}

// logPart answers with the bytes from ?from= to ?to= of a log, at most
// partMost of them. X-Log-Size is the size of the whole log.
func (v *visit) logPart(full string, number int64) error {
	if !v.MayRead(full) {
		return web.ErrForbidden
	}
	if _, ok := v.Definition.Job(full); !ok {
		return web.ErrNotFound
	}
	log, err := v.ctl.Log(v.R.Context(), full, number)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // only read
	query := v.R.URL.Query()
	total := log.Size()
	from := clamp(query.Get("from"), total)
	to := min(clamp(query.Get("to"), total), from+partMost)
	text, err := readPart(log, from, to)
	if err != nil {
		return err
	}
	h := v.W.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("X-Log-Size", strconv.FormatInt(total, 10))
	v.W.WriteHeader(http.StatusOK)
	if v.R.Method != http.MethodHead {
		_, _ = v.W.Write(text) // a client that is gone learns nothing
	}
	return nil
}

// clamp reads an offset; what is none is 0, and none is beyond the end.
func clamp(text string, end int64) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return min(max(n, 0), end)
}
