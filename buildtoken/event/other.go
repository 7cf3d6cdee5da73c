package event

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
)

// readSlack reads a slash command.
func readSlack(body []byte) (Delivery, error) {
	form, err := parseForm(body)
	if err != nil {
		return Delivery{}, err
	}
	if form.Get("ssl_check") == "1" {
		return Delivery{Ping: true}, nil
	}
	e := Event{
		Kind: Slack, Name: form.Get("command"), ID: form.Get("trigger_id"),
		Sender: form.Get("user_name"), Message: form.Get("text"),
	}
	e.alias(strings.TrimPrefix(e.Name, "/"))
	return Delivery{Events: []Event{e}, once: idOnce(e.ID)}, nil
}

// readOther reads the name and the ID of an event where senders usually have
// them. Conditions of a job can read the rest from the body.
func readOther(kind Kind, h Header, body []byte) (Delivery, error) {
	var p struct {
		ID        string `json:"id"`
		Type      string `json:"type"`
		EventType string `json:"eventType"` // Azure DevOps
		Event     string `json:"event"`
		Source    string `json:"source"` // CloudEvents: with ID
		GroupKey  string `json:"groupKey"`
		Status    string `json:"status"` // Alertmanager: firing, resolved
	}
	empty := len(bytes.TrimSpace(body)) == 0
	switch {
	case empty && (kind == HMAC || kind == Token):
	case empty:
		return Delivery{}, fmt.Errorf("%w: it is empty", ErrMalformed)
	case isForm(h):
		if _, err := parseForm(body); err != nil {
			return Delivery{}, err
		}
	default:
		if err := decode(body, &p); err != nil {
			return Delivery{}, err
		}
	}
	e := Event{Kind: kind}
	for _, name := range []string{h.Get("Ce-Type"), p.Event, p.EventType, p.Type} {
		if name != "" {
			e.Name = name
		}
	}
	if p.GroupKey != "" && e.Name == "" {
		e.Name = p.Status
	}
	mediaType, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case kind == Standard:
		e.ID = h.Get("Webhook-Id")
	case kind == Stripe:
		e.ID = p.ID
	case h.Get("Idempotency-Key") != "":
		e.ID = h.Get("Idempotency-Key")
	case h.Get("Ce-Id") != "":
		e.ID = h.Get("Ce-Source") + " " + h.Get("Ce-Id")
	case mediaType == "application/cloudevents+json" && p.ID != "":
		e.ID = p.Source + " " + p.ID
	case p.EventType != "": // Azure DevOps; other IDs may be those of what the event is about
		e.ID = p.ID
	}
	return Delivery{Events: []Event{e}, once: idOnce(e.ID)}, nil
}
