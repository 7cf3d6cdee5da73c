package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"text/template"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// body is a configured body.
type body struct{ template *template.Template }

// parseBody reads a template and tries it with sample events. If the content type is JSON,
// each result must be valid JSON: the samples contain quotes and line ends, so a value that
// does not go through the function json is found.
func parseBody(text, contentType string) (*body, error) {
	t, err := template.New("body").Funcs(template.FuncMap{"json": toJSON}).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	b := &body{t}
	kind, _, err := mime.ParseMediaType(contentType)
	isJSON := err == nil && (kind == jsonType || strings.HasSuffix(kind, "+json"))
	for _, e := range samples() {
		out, err := b.execute(&e)
		if err != nil {
			return nil, err
		}
		if isJSON && !json.Valid(out) {
			return nil, errors.New("the result is not valid JSON; write values as {{.Text | json}}, without quotes around them, or set another Content-Type with header")
		}
	}
	return b, nil
}

// maxBody bounds a body, in bytes.
const maxBody = 1 << 20

func (b *body) execute(e *notify.Event) ([]byte, error) {
	var out limited
	if err := b.template.Execute(&out, e); err != nil {
		var failed template.ExecError
		if errors.As(err, &failed) {
			return nil, errors.New(strings.TrimPrefix(failed.Error(), "template: "))
		}
		return nil, err
	}
	return out.Bytes(), nil
}

// limited is a buffer that refuses what is too large.
type limited struct{ bytes.Buffer }

// Write implements [io.Writer].
func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxBody {
		return 0, fmt.Errorf("it is larger than %d bytes", maxBody)
	}
	return l.Buffer.Write(p)
}

// toJSON is the function json of templates.
func toJSON(value any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if text, ok := value.(string); ok {
		value = strings.ToValidUTF8(text, "\ufffd")
	}
	err := encoder.Encode(value)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// samples are events of each kind, with texts that would break a body without escapes.
func samples() []notify.Event {
	ended := notify.Sample()
	ended.Reason, ended.Causes = "exit \"status\" \\1\n<b>", []string{"\"quoted\"\n"}
	ended.Params = append(ended.Params, notify.Param{Name: "NOTE", Value: "\"a\\\n"})
	ended.Log = "\"log\"\n\x1b[1m"
	ended.Job = `site/a "b" \c`
	started := ended
	started.Kind, started.Result, started.Reason, started.Turn, started.Ended, started.Log = queue.EventStarted, "", "", "", time.Time{}, ""
	queued := started
	queued.Kind, queued.Number, queued.BuildURL, queued.Started, queued.Node = queue.EventQueued, 0, "", time.Time{}, ""
	cancelled := queued
	cancelled.Kind, cancelled.By = queue.EventCancelled, "user \"bob\""
	bare := notify.Event{ID: "x", Kind: queue.EventEnded, Job: "j", Item: 1, Number: 1, Result: queue.Success}
	return []notify.Event{ended, started, queued, cancelled, bare}
}
