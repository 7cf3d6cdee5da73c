package receiver_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
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
		{"a port that is none", "smtp://h:99999/?from=a@b.c&to=a@b.c", "the URL: the port is not between 1 and 65535"},
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
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		commands := make(chan string)
		go func() {
			defer close(commands)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "220 hello\r\n")
			for lines, inData := bufio.NewScanner(c), false; lines.Scan(); {
				switch word, _, _ := strings.Cut(lines.Text(), " "); {
				case inData:
					inData = word != "."
					if !inData {
						_, _ = io.WriteString(c, "250 accepted\r\n")
					}
				case word == "DATA":
					inData = true
					_, _ = io.WriteString(c, "354 go on\r\n")
					commands <- word
				default:
					_, _ = io.WriteString(c, "250 yes\r\n")
					commands <- word
				}
			}
		}()
		r, err := receiver.New(receiver.Config{Format: receiver.Mail, URL: "smtp://" + l.Addr().String() + "/?from=a@b.c&to=a@b.c&tls=off"})
		if err != nil {
			t.Fatal(err)
		}
		e := notify.Sample()
		done := make(chan notify.Outcome, 1)
		go func() { done <- r.Send(t.Context(), &e, func() bool { return late }) }()
		var got []string
		for word := range commands {
			got = append(got, word)
		}
		if out := <-done; (out.Error != "") != late || slices.Contains(got, "MAIL") == late {
			t.Errorf("late %v: %+v after %q", late, out, got)
		}
	}
}
