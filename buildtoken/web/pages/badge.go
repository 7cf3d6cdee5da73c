package pages

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// badgeView is the content of a badge: its text, the width of that, and a colour on which
// white is readable.
type badgeView struct {
	Text, Colour        string
	Width, Middle, Long int
}

// badge answers with the state of a job as a picture: to every caller if the job has
// `badge`, else to callers who may read the job.
func (v *visit) badge(full string) error {
	if !v.Definition.Badged(full) && !v.MayRead(full) {
		return web.ErrForbidden
	}
	j, ok := v.Definition.Job(full)
	if !ok {
		return web.ErrNotFound
	}
	lanes, err := v.ctl.Lanes(v.R.Context(), full)
	if err != nil {
		return err
	}
	text, colour := badgeOf(lanes[0], j.Disabled)
	var b bytes.Buffer
	if err := v.kit.templates.ExecuteTemplate(&b, "badge", badgeLayout(text, colour)); err != nil {
		return err
	}
	sum := sha256.Sum256(b.Bytes())
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	const contentType = "image/svg+xml"
	h := v.W.Header()
	// Image proxies cache what does not require revalidation.
	h.Set("Cache-Control", "no-cache, max-age=0")
	h.Set("ETag", etag)
	h.Del("Vary")
	if v.R.Header.Get("If-None-Match") == etag {
		h.Set("Content-Type", contentType)
		v.W.WriteHeader(http.StatusNotModified)
		return nil
	}
	v.WriteBytes(http.StatusOK, contentType, b.Bytes())
	return nil
}

// badgeOf is the word for the state of a job, and its colour.
func badgeOf(l queue.Lane, disabled bool) (text, colour string) {
	const grey, blue, green, yellow, red, brown = "#57606a", "#0a58ca", "#1a7f37", "#856404", "#c62828", "#8a5a00"
	switch {
	case len(l.Running) > 0:
		return "running", blue
	case disabled:
		return "disabled", grey
	case l.LastEnded == 0:
		return "never built", grey
	}
	switch l.Last {
	case queue.Success:
		return "passing", green
	case queue.Unstable:
		return "unstable", yellow
	case queue.Failure:
		return "failing", red
	case queue.Aborted:
		return "aborted", brown
	case queue.NotBuilt:
		return "not built", grey
	}
	return "unknown", grey
}

// badgeLayout measures the text as most sans-serif fonts of 11 pixels have it;
// textLength makes the others fit.
func badgeLayout(text, colour string) badgeView {
	const left = 39 // for "build"
	long := 0
	for _, r := range text {
		switch r {
		case 'i', 'l', 't', ' ':
			long += 4
		default:
			long += 7
		}
	}
	right := long + 12
	return badgeView{Text: text, Colour: colour, Width: left + right, Middle: left + right/2, Long: long}
}
