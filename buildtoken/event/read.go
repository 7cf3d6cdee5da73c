package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strconv"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// ErrMalformed is wrapped by the errors of [Read] and [Body]: the body is neither
// the JSON nor the form that its sender sends.
var ErrMalformed = errors.New("event: malformed body")

// Delivery is what [Read] found.
type Delivery struct {
	// Events are what happened. Bitbucket reports several refs in one delivery.
	Events []Event
	// Ping is true for a test by the sender; then there are no events.
	Ping bool

	// once identifies the delivery; "" if nothing does.
	once string
}

// Once returns a text that is the same whenever the sender repeats the delivery, for the
// event with this index; "" if the sender gives no such thing.
//
// Where the sender signs the body but not its ID, the text for a push or a pull request is made
// of the body, so that a copy under another ID counts as a repetition.
func (d *Delivery) Once(i int) string {
	if d.once == "" {
		return ""
	}
	return d.once + "#" + strconv.Itoa(i)
}

// Read reads a delivery. The error wraps [ErrMalformed].
func Read(kind Kind, h Header, body []byte) (Delivery, error) {
	switch kind {
	case GitHub, Gitea:
		return readGitHub(kind, h, body)
	case GitLab:
		return readGitLab(h, body)
	case Bitbucket:
		return readBitbucket(h, body)
	case Slack:
		return readSlack(body)
	default:
		return readOther(kind, h, body)
	}
}

// isForm reports whether the body is declared to be a form.
func isForm(h Header) bool {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && mediaType == "application/x-www-form-urlencoded"
}

// Payload returns the JSON of a body from a sender that sends it as it is or as the field
// "payload" of a form.
func Payload(h Header, body []byte) ([]byte, error) {
	if !isForm(h) {
		return body, nil
	}
	form, err := parseForm(body)
	if err != nil {
		return nil, err
	}
	if len(form["payload"]) != 1 {
		return nil, fmt.Errorf("%w: the form has %d fields payload, want 1", ErrMalformed, len(form["payload"]))
	}
	return []byte(form.Get("payload")), nil
}

func parseForm(body []byte) (url.Values, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: form", ErrMalformed) // the cause quotes the body
	}
	return form, nil
}

// decode decodes JSON into a struct. A field of another type than expected stays zero: senders add
// events faster than we read about them. Two members of one name are malformed: another reader of the
// body might take the other one.
func decode(body []byte, into any) error {
	err := jsonv2.Unmarshal(body, into, anyText)
	if _, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		err = jsonv2.Unmarshal(body, into, anyText, jsonv1.ReportErrorsWithLegacySemantics(true)) // goes on after such a field
		if _, ok := errors.AsType[*jsonv1.UnmarshalTypeError](err); ok {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%w: JSON", ErrMalformed) // the cause quotes the body
	}
	return nil
}

// anyText replaces what is not UTF-8 instead of refusing it.
var anyText = jsontext.AllowInvalidUTF8(true) //nolint:gochecknoglobals // an option that does not change

// payload reads the JSON of a forge, and returns its text.
func payload(h Header, body []byte, into any) ([]byte, error) {
	text, err := Payload(h, body)
	if err != nil {
		return nil, err
	}
	if first := bytes.TrimLeft(text, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return nil, fmt.Errorf("%w: it is not a JSON object", ErrMalformed)
	}
	return text, decode(text, into)
}

// bodyOnce identifies a delivery by its JSON. Around that, a form can have fields that are not
// signed.
func bodyOnce(text []byte) string {
	sum := sha256.Sum256(text)
	return "body " + hex.EncodeToString(sum[:])
}

// idOnce identifies a delivery by its ID.
func idOnce(id string) string {
	if id == "" {
		return ""
	}
	return "id " + id
}

// Body returns the body of a delivery as rules see it: JSON as maps, lists, strings,
// booleans and [json.Number]; a form as a map of strings, with a list where a name has several
// values. A field "payload" of a form is parsed; from GitHub and Gitea it is the whole.
// An empty body is nil.
func Body(kind Kind, h Header, body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil //nolint:nilnil // nil is JSON's null
	}
	if kind == GitHub || kind == Gitea {
		text, err := Payload(h, body)
		if err != nil {
			return nil, err
		}
		return decodeAny(text)
	}
	if kind != Slack && !isForm(h) {
		return decodeAny(body)
	}
	form, err := parseForm(body)
	if err != nil {
		return nil, err
	}
	all := make(map[string]any, len(form))
	for name, values := range form {
		if len(values) == 1 {
			all[name] = values[0]
			continue
		}
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		all[name] = list
	}
	if text, ok := all["payload"].(string); ok {
		if parsed, err := decodeAny([]byte(text)); err == nil {
			all["payload"] = parsed
		}
	}
	return all, nil
}

// decodeAny decodes JSON and keeps numbers as they are written: a float64 cannot hold every ID.
func decodeAny(body []byte) (any, error) {
	var v any
	if err := jsonv2.Unmarshal(body, &v, anyText, numbers); err != nil {
		return nil, fmt.Errorf("%w: JSON", ErrMalformed) // the cause quotes the body
	}
	return v, nil
}

// numbers lets a number become a [json.Number].
var numbers = jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(d *jsontext.Decoder, into *any) error { //nolint:gochecknoglobals // as above
	if d.PeekKind() != '0' {
		return errors.ErrUnsupported // as without this function
	}
	token, err := d.ReadToken()
	*into = json.Number(token.String())
	return err //nolint:wrapcheck // the decoder wraps it
}))
