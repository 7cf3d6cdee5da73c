package receiver

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// Bounds of a standard body, in bytes.
const (
	maxStandard = 20_000  // of the body: senders of Standard Webhooks keep theirs below 20 KB
	maxValues   = 8 << 10 // of all parameters or all causes together
	valueShare  = 8       // the part of that which one of them, or another text, may have
)

// standardEvent is the body of the format standard.
type standardEvent struct {
	Type      string       `json:"type"`
	Timestamp time.Time    `json:"timestamp"`
	Data      standardData `json:"data"`
}

type standardData struct {
	Sequence int64             `json:"sequence"`
	Text     string            `json:"text"`
	Job      string            `json:"job"`
	JobURL   string            `json:"job_url,omitempty"`
	Item     int64             `json:"item"`
	ItemURL  string            `json:"item_url,omitempty"`
	Build    int64             `json:"build,omitempty"`
	BuildURL string            `json:"build_url,omitempty"`
	Node     string            `json:"node,omitempty"`
	Result   queue.Result      `json:"result,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Turn     queue.Condition   `json:"turn,omitempty"`
	By       string            `json:"by,omitempty"`
	Queued   time.Time         `json:"queued,omitzero"`
	Started  time.Time         `json:"started,omitzero"`
	Ended    time.Time         `json:"ended,omitzero"`
	Causes   []string          `json:"causes,omitempty"`
	Params   map[string]string `json:"parameters,omitempty"`
	// Cut names the parameters whose value was shortened or left out.
	Cut []string `json:"parameters_cut,omitempty"`
}

// standardBody shortens texts until the body is small enough: JSON writes some characters in six
// bytes, and the addresses of a job can be long.
func standardBody(e *notify.Event) ([]byte, []Field) {
	body := standardWithin(e, maxValues)
	for most := maxValues / 2; len(body) > maxStandard && most >= valueShare; most /= 2 {
		body = standardWithin(e, most)
	}
	return body, nil
}

// standardWithin returns the body with at most so many bytes of parameters, and of causes.
func standardWithin(e *notify.Event, most int) []byte {
	one := most / valueShare
	d := standardData{
		Sequence: e.Sequence, Text: cut(e.Text(), one), Job: e.Job, JobURL: e.JobURL, Item: e.Item, ItemURL: e.ItemURL,
		Build: e.Number, BuildURL: e.BuildURL, Node: e.Node, Result: e.Result, Reason: cut(e.Reason, one), Turn: e.Turn, By: cut(e.By, one),
		Queued: e.Queued.UTC(), Started: e.Started.UTC(), Ended: e.Ended.UTC(),
	}
	left := most
	for _, c := range e.Causes {
		if c = cut(c, one); left-len(c) >= 0 {
			d.Causes, left = append(d.Causes, c), left-len(c)
		}
	}
	d.Params, d.Cut = parameters(e, most)
	return marshal(standardEvent{"build." + string(e.Kind), e.At.UTC(), d})
}

// parameters returns at most so many bytes of parameters by name, and the names of those that were
// shortened or left out.
func parameters(e *notify.Event, most int) (values map[string]string, shortened []string) {
	left := most
	for _, p := range e.Params {
		value := cut(p.Value, most/valueShare)
		size := len(p.Name) + len(value)
		if len(value) < len(p.Value) || size > left {
			shortened = append(shortened, p.Name)
		}
		if size > left {
			continue
		}
		if values == nil {
			values = map[string]string{}
		}
		values[p.Name], left = value, left-size
	}
	return values, shortened
}

// cut returns at most limit bytes of a text, as valid UTF-8.
func cut(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}

// marshal returns the JSON of a value of ours, which can always be written.
func marshal(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // into memory, of types that have JSON
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// sign sets the headers of Standard Webhooks: the ID, the time of the attempt, and a
// signature for each secret.
func sign(h http.Header, id string, text []byte, secrets []token.SigningSecret, now time.Time) {
	at := strconv.FormatInt(now.Unix(), 10)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	var signatures []string
	for _, s := range secrets {
		mac := s.MAC(sha256.New)
		mac.Write([]byte(id + "." + at + "."))
		mac.Write(text)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if len(signatures) > 0 {
		h.Set("Webhook-Signature", strings.Join(signatures, " "))
	}
}
