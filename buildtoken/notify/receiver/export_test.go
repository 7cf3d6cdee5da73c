package receiver

import (
	"bytes"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
)

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
