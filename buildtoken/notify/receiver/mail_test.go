package receiver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/notify/receiver"
)

func TestMail(t *testing.T) {
	r, err := receiver.New(receiver.Config{
		Format: receiver.Mail, URL: "smtps://ci:secret@mail.example.com/?from=Bu%C3%ADlds%20<ci@example.com>&to=dev@example.com,%22Ops%22%20<ops@example.com>",
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range events() {
		t.Run(name, func(t *testing.T) {
			if name == "failed" {
				e.Job, e.Reason = "søk/a\r\nBcc: all@example.com", "exit status 1\r\n.\r\nQUIT"
			}
			got, err := receiver.MailOf(r, &e)
			if err != nil {
				t.Fatal(err)
			}
			wantGolden(t, filepath.Join("testdata", "mail_"+name+".eml"), bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")))
		})
	}
}

func TestMailURL(t *testing.T) {
	for _, tt := range []struct{ name, url, want string }{
		{"no sender", "smtp://h/?to=a@b.c", "the URL: from is missing or is no mail address"},
		{"no recipient", "smtp://h/?from=a@b.c", "the URL: to is missing"},
		{"a misspelt word", "smtp://h/?from=a@b.c&too=a@b.c", `the URL: "too" is none of from, to, tls`},
		{"a plus that is a blank", "smtp://h/?from=a@b.c&to=a+b@b.c", "the URL: to is no list of mail addresses; a + in an address is written as %2B"},
		{"a path", "smtp://h/x?from=a@b.c&to=a@b.c", "the URL: only / and a query can follow the host; a password with /, ? or # needs a placeholder, or escapes"},
		{"a password with a slash", "smtp://u:p/w@h/?from=a@b.c&to=a@b.c", "the URL: want smtp://host/?from=…&to=… or smtps://…"},
		{"another scheme", "https://h/?from=a@b.c&to=a@b.c", "the URL: want smtp://host/?from=…&to=… or smtps://…"},
		{"a port above all", "smtp://h:65536/?from=a@b.c&to=a@b.c", "the URL: the port is not between 1 and 65535"},
		{"a port below all", "smtp://h:0/?from=a@b.c&to=a@b.c", "the URL: the port is not between 1 and 65535"},
		{"two senders", "smtp://h/?from=a@b.c&from=d@e.f&to=a@b.c", "the URL: from is missing or is no mail address"},
		{"a query that is none", "smtp://h/?from=%zz", "the URL: the query is malformed"},
		{"a fragment", "smtp://h/?from=a@b.c&to=a@b.c#x", "the URL: only / and a query can follow the host; a password with /, ? or # needs a placeholder, or escapes"},
		{"no host", "smtp:///?from=a@b.c&to=a@b.c", "the URL: want smtp://host/?from=…&to=… or smtps://…"},
		{"TLS on and off", "smtps://h/?from=a@b.c&to=a@b.c&tls=off", "the URL: tls=off contradicts smtps"},
		{"TLS that is optional", "smtp://h/?from=a@b.c&to=a@b.c&tls=maybe", "the URL: tls: want off, or leave it out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := receiver.New(receiver.Config{Format: receiver.Mail, URL: tt.url})
			if err == nil || err.Error() != tt.want {
				t.Errorf("New = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestMailPorts(t *testing.T) {
	for in, want := range map[string]string{
		"smtp://h": "h:587", "smtps://h": "h:465", "smtp://h:1": "h:1", "smtps://h:65535": "h:65535", "smtp://[::1]:25": "::1:25",
	} {
		r, err := receiver.New(receiver.Config{Format: receiver.Mail, URL: in + "/?from=a@b.c&to=a@b.c"})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := receiver.MailServerOf(r); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", in, got, err, want)
		}
	}
}

// TestMailServerThatHangs uses servers that accept connections and send nothing, or too little.
func TestMailServerThatHangs(t *testing.T) {
	for _, greeting := range []string{"", "220 hello\r\n"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(greeting))
			}
		}()
		for _, scheme := range []string{"smtp", "smtps"} {
			r, err := receiver.New(receiver.Config{Format: receiver.Mail, URL: scheme + "://" + l.Addr().String() + "/?from=a@b.c&to=a@b.c"})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			e := notify.Sample()
			begun := time.Now()
			out := r.Send(ctx, &e, inTime)
			cancel()
			if took := time.Since(begun); took > 10*time.Second || out.Error == "" || out.Refused || strings.Contains(out.Error, "127.0.0.1") {
				t.Errorf("%s after %q: %+v in %v", scheme, greeting, out, took)
			}
		}
	}
}

// TestMailThatIsTooLate sends nothing but what it takes to connect.
func TestMailThatIsTooLate(t *testing.T) {
	for _, late := range []bool{false, true} {
		address, conversation := serveMail(t, "250 yes")
		r, err := receiver.New(receiver.Config{Format: receiver.Mail, URL: "smtp://" + address + "/?from=a@b.c&to=a@b.c&tls=off", Body: "It is about {{.Job}}."})
		if err != nil {
			t.Fatal(err)
		}
		e := notify.Sample()
		out := r.Send(t.Context(), &e, func() bool { return late })
		got := <-conversation
		if (out.Error != "") != late || strings.Contains(got, "\nMAIL FROM") == late || strings.Contains(got, "\nIt is about site/deploy.\n") == late {
			t.Errorf("late %v: %+v after %q", late, out, got)
		}
	}
}

// The user and the password come from the URL. The challenge and its answer are those of RFC 2195.
func TestMailServerWithPassword(t *testing.T) {
	address, conversation := serveMail(t, "250 yes", "AUTH CRAM-MD5")
	r, err := receiver.New(receiver.Config{
		Format: receiver.Mail, URL: "smtp://tim:{env.P}@" + address + "/?from=a@b.c&to=a@b.c&tls=off", Resolve: replacer("{env.P}", "tanstaaftanstaaf"),
	})
	if err != nil {
		t.Fatal(err)
	}
	e := notify.Sample()
	out := r.Send(t.Context(), &e, inTime)
	want := "\nAUTH CRAM-MD5\n" + base64.StdEncoding.EncodeToString([]byte("tim b913a602c7eda7a495b4e6e7334d3890")) + "\nMAIL FROM"
	if got := <-conversation; out != (notify.Outcome{}) || !strings.Contains(got, want) {
		t.Errorf("Send = %+v after %q, want %q in it", out, got, want)
	}
}

// A mail server that refuses a recipient for good is not asked again and again.
func TestMailThatIsRefused(t *testing.T) {
	for recipient, want := range map[string]notify.Outcome{
		"550 no such user": {Error: "550 (sending SMTP RCPT TO command)", Refused: true}, "450 try later": {Error: "450 (sending SMTP RCPT TO command)"}, "499 try later": {Error: "499 (sending SMTP RCPT TO command)"}, "500 what": {Error: "500 (sending SMTP RCPT TO command)", Refused: true},
	} {
		address, conversation := serveMail(t, recipient)
		r, err := receiver.New(receiver.Config{Format: receiver.Mail, URL: "smtp://" + address + "/?from=a@b.c&to=a@b.c&tls=off"})
		if err != nil {
			t.Fatal(err)
		}
		e := notify.Sample()
		if out := r.Send(t.Context(), &e, inTime); out != want || strings.Contains(<-conversation, "DATA") {
			t.Errorf("%s: Send = %+v, want %+v", recipient, out, want)
		}
	}
}

func TestMailServerThatIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	r, err := receiver.New(receiver.Config{Format: receiver.Mail, URL: "smtp://" + l.Addr().String() + "/?from=a@b.c&to=a@b.c"})
	if err != nil {
		t.Fatal(err)
	}
	e := notify.Sample()
	if out := r.Send(t.Context(), &e, inTime); out != (notify.Outcome{Error: "connection refused"}) {
		t.Errorf("Send = %+v, want it refused", out)
	}
}

// serveMail accepts one connection and everything on it but the recipients, to which it gives its answer. The conversation is all lines of the client.
func serveMail(t *testing.T, recipient string, extensions ...string) (address string, conversation <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	all := make(chan string, 1)
	go func() {
		var text strings.Builder
		defer func() { all <- text.String() }()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		answer := func(lines string) { _, _ = io.WriteString(c, lines+"\r\n") }
		answer("220 hello")
		for lines, inData := bufio.NewScanner(c), false; lines.Scan(); {
			text.WriteString(lines.Text() + "\n")
			switch word, _, _ := strings.Cut(lines.Text(), " "); {
			case inData:
				if inData = word != "."; !inData {
					answer("250 accepted")
				}
			case word == "DATA":
				inData = true
				answer("354 go on")
			case word == "AUTH":
				answer("334 " + base64.StdEncoding.EncodeToString([]byte("<1896.697170952@postoffice.reston.mci.net>")))
				if lines.Scan() {
					text.WriteString(lines.Text() + "\n")
					answer("235 welcome")
				}
			case word == "RCPT":
				answer(recipient)
			case word == "EHLO":
				answer("250-mail.example.com")
				for _, e := range extensions {
					answer("250-" + e)
				}
				answer("250 yes")
			default:
				answer("250 yes")
			}
		}
	}()
	return l.Addr().String(), all
}
