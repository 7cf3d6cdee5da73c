package receiver

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
)

// mailServer is the URL of a receiver of mails.
type mailServer struct {
	host string
	port int
	// implicit is TLS from the first byte (smtps); otherwise TLS begins with STARTTLS, unless plain.
	implicit, plain bool
	user, password  string
	from            *mail.Address
	to              []*mail.Address
}

// parseMail reads smtp[s]://host:port/?from=…&to=…. The errors show none of it but the
// names of its parts.
func parseMail(text string, user *url.Userinfo) (*mailServer, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "smtp" && u.Scheme != "smtps") || u.Hostname() == "" {
		return nil, errors.New("want smtp://host/?from=…&to=… or smtps://…")
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, errors.New("only / and a query can follow the host; a password with /, ? or # needs a placeholder, or escapes")
	}
	m := &mailServer{host: u.Hostname(), port: 587, implicit: u.Scheme == "smtps"}
	if m.implicit {
		m.port = 465
	}
	if port := u.Port(); port != "" {
		if m.port, err = strconv.Atoi(port); err != nil || m.port < 1 || m.port > 65535 {
			return nil, errors.New("the port is not between 1 and 65535")
		}
	}
	if user != nil {
		m.user = user.Username()
		m.password, _ = user.Password()
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("the query is malformed")
	}
	return m, m.query(query)
}

func (m *mailServer) query(query url.Values) error {
	for name := range query {
		if !slices.Contains([]string{"from", "to", "tls"}, name) {
			return fmt.Errorf("%q is none of from, to, tls", name)
		}
	}
	var err error
	if m.from, err = mail.ParseAddress(query.Get("from")); err != nil || len(query["from"]) != 1 {
		return errors.New("from is missing or is no mail address")
	}
	for _, list := range query["to"] {
		addresses, err := mail.ParseAddressList(list)
		if err != nil {
			return errors.New("to is no list of mail addresses; a + in an address is written as %2B")
		}
		m.to = append(m.to, addresses...)
	}
	if len(m.to) == 0 {
		return errors.New("to is missing")
	}
	switch query.Get("tls") {
	case "":
	case "off":
		if m.implicit {
			return errors.New("tls=off contradicts smtps")
		}
		m.plain = true
	default:
		return errors.New("tls: want off, or leave it out")
	}
	return nil
}

// message returns the mail for an event. It depends on nothing but its arguments.
func (m *mailServer) message(e *notify.Event, text string) *gomail.Msg {
	msg := gomail.NewMsg(gomail.WithEncoding(gomail.EncodingQP))
	domain := m.from.Address[strings.LastIndexByte(m.from.Address, '@')+1:]
	sum := sha256.Sum256([]byte(e.Target + "\x00" + e.Job))
	thread := "<job-" + hex.EncodeToString(sum[:12]) + "@" + domain + ">"
	msg.FromMailAddress(m.from)
	msg.ToMailAddress(m.to...)
	msg.Subject(cut(e.Subject()+" "+e.State(), 200))
	msg.SetDateWithValue(e.At.UTC())
	msg.SetMessageIDWithValue(e.ID + "@" + domain)
	msg.SetGenHeader(gomail.HeaderInReplyTo, thread)
	msg.SetGenHeader(gomail.HeaderReferences, thread)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetUserAgent("buildtoken")
	msg.SetBodyString(gomail.TypeTextPlain, text)
	return msg
}

// maxLogLines is how many lines of the log's end a mail shows.
const maxLogLines = 20

// mailText is the body of a mail.
func mailText(e *notify.Event) string {
	var b strings.Builder
	b.WriteString(e.Text() + "\n")
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name+":", value)
		}
	}
	b.WriteByte('\n')
	line("Address", e.URL())
	for i, c := range e.Causes {
		if i < 5 {
			line("Cause", cut(c, maxFacts))
		}
	}
	line("Server", e.Node)
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"Queued", e.Queued}, {"Started", e.Started}, {"Ended", e.Ended}} {
		if !t.at.IsZero() {
			line(t.name, t.at.UTC().Format(time.RFC1123))
		}
	}
	for _, p := range e.Params {
		line("Parameter", p.Name+"="+strings.ReplaceAll(cut(p.Value, 200), "\n", " "))
	}
	if log := strings.TrimRight(e.Log, "\n"); log != "" {
		lines := strings.Split(log, "\n")
		lines = lines[max(0, len(lines)-maxLogLines):]
		b.WriteString("\nThe end of the log:\n\n  " + strings.Join(lines, "\n  ") + "\n")
	}
	return b.String()
}

// sendMail sends a mail for an event.
func (r *Receiver) sendMail(ctx context.Context, e *notify.Event, s settings, late func() bool) notify.Outcome {
	text := mailText(e)
	if r.body != nil {
		out, err := r.body.execute(e)
		if err != nil {
			return notSendable(fmt.Errorf("body: %w", err))
		}
		text = string(out)
	}
	return s.mail.send(ctx, s.mail.message(e, text), late)
}

func (m *mailServer) send(ctx context.Context, msg *gomail.Msg, late func() bool) notify.Outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the connection
	tlsConfig := &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12}
	options := []gomail.Option{
		gomail.WithPort(m.port), gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithTLSConfig(tlsConfig), gomail.WithoutNoop(),
		gomail.WithTimeout(time.Minute), // ctx ends earlier
		gomail.WithDialContextFunc(func(dial context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(dial, network, address)
			if err != nil {
				return nil, err
			}
			// The library looks at the context only until the connection is made.
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			if !m.implicit {
				return conn, nil
			}
			secure := tls.Client(conn, tlsConfig)
			return secure, secure.HandshakeContext(dial)
		}),
	}
	switch {
	case m.implicit:
		options = append(options, gomail.WithSSL())
	case m.plain:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if m.user != "" {
		options = append(options, gomail.WithUsername(m.user), gomail.WithPassword(m.password),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5))
	}
	client, err := gomail.NewClient(m.host, options...)
	if err != nil {
		return notify.Outcome{Error: "the mail server cannot be used with these settings"}
	}
	dialed, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return notify.Outcome{Error: describeMail(ctx, err)}
	}
	defer func() { _ = client.CloseWithSMTPClient(dialed) }() // the mail was accepted before, or was not
	if late() {
		return notify.Outcome{Error: errLate.Error()}
	}
	if err := client.SendWithSMTPClient(dialed, msg); err != nil && !msg.IsDelivered() {
		var refused *gomail.SendError
		return notify.Outcome{Error: describeMail(ctx, err), Refused: errors.As(err, &refused) && refused.ErrorCode() >= 500}
	}
	return notify.Outcome{}
}

// describeMail returns why a mail was not accepted, without addresses.
func describeMail(ctx context.Context, err error) string {
	var refused *gomail.SendError
	if errors.As(err, &refused) && refused.ErrorCode() != 0 {
		return fmt.Sprintf("%d (%s)", refused.ErrorCode(), refused.Reason)
	}
	var answer *textproto.Error
	if errors.As(err, &answer) {
		if strings.Contains(err.Error(), "SMTP AUTH failed") {
			return fmt.Sprintf("%d (the mail server refused the user or the password)", answer.Code)
		}
		return fmt.Sprintf("%d (the mail server refused the connection)", answer.Code)
	}
	switch text := err.Error(); {
	case strings.Contains(text, "STARTTLS"):
		return "the mail server has no STARTTLS; use smtps, or tls=off"
	case strings.Contains(text, "AUTH"), strings.Contains(text, "auth"), strings.Contains(text, "unencrypted"):
		return "the mail server takes no password over this connection"
	}
	return describe(ctx, err)
}
