package receiver

import (
	"bytes"
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
)

// MailServerOf returns the host and the port of the mail server.
func MailServerOf(r *Receiver) (string, error) {
	s, err := r.resolve()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s:%d", s.mail.host, s.mail.port), nil
}

// MailOf returns the mail for an event as it is sent.
func MailOf(r *Receiver, e *notify.Event) ([]byte, error) {
	s, err := r.resolve()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = s.mail.message(e, mailText(e)).WriteTo(&b)
	return b.Bytes(), err
}
