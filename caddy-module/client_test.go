package caddymodule_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	caddymodule "github.com/buildtoken/buildtoken/caddy-module"
)

// TestRetryEndsWithThePatience repeats a request of a server that stays away, one that comes
// back, and one that refuses.
func TestRetryEndsWithThePatience(t *testing.T) {
	stopped := errors.New("stopped")
	for _, tt := range []struct {
		name  string
		err   error // of each try
		stop  time.Duration
		tries int
		took  time.Duration
		want  error
	}{
		// The pauses are 0.1, 0.2, 0.4, 0.8, 1.6, and then 2 seconds.
		{"no answer", caddymodule.ErrUnreachable, time.Hour, 7, 5100 * time.Millisecond, caddymodule.ErrUnreachable},
		{"an error of the server", caddymodule.Refused(http.StatusInternalServerError), time.Hour, 7, 5100 * time.Millisecond, caddymodule.Refused(http.StatusInternalServerError)},
		{"a refusal", caddymodule.Refused(http.StatusTooManyRequests), time.Hour, 1, 0, caddymodule.Refused(http.StatusTooManyRequests)},
		{"another error", stopped, time.Hour, 1, 0, stopped},
		{"success", nil, time.Hour, 1, 0, nil},
		{"an end while it waits", caddymodule.ErrUnreachable, time.Second, 4, time.Second, stopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), tt.stop, stopped)
				defer cancel()
				began, tries := time.Now(), 0
				err := caddymodule.Retry(ctx, 3500*time.Millisecond, func() error {
					tries++
					return tt.err
				})
				same := errors.Is(err, tt.want) || err != nil && tt.want != nil && err.Error() == tt.want.Error()
				if took := time.Since(began); !same || tries != tt.tries || took != tt.took {
					t.Errorf("%v after %d tries and %v, want %v after %d and %v", err, tries, took, tt.want, tt.tries, tt.took)
				}
			})
		})
	}
}

// TestRetryWaitsFromTheLastAnswer breaks off a log in which nothing has happened for an hour, and so
// the patience with the server that is away begins then.
func TestRetryWaitsFromTheLastAnswer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		quiet time.Duration // of the first answer
		tries int
		took  time.Duration
	}{
		// The pauses begin again with 0.1 seconds.
		{"after an hour", time.Hour, 7, time.Hour + 5100*time.Millisecond},
		{"at once", 0, 7, 5100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, tries := time.Now(), 0
				err := caddymodule.Retry(t.Context(), 3500*time.Millisecond, func() error {
					if tries++; tries > 1 {
						return caddymodule.ErrUnreachable
					}
					time.Sleep(tt.quiet)
					return caddymodule.ErrCutOff
				})
				if took := time.Since(began); !errors.Is(err, caddymodule.ErrUnreachable) || tries != tt.tries || took != tt.took {
					t.Errorf("%v after %d tries and %v, want no answer after %d and %v", err, tries, took, tt.tries, tt.took)
				}
			})
		})
	}
}

// served is a server that answers in turn, and at last with the last answer. An empty answer is none.
type served struct {
	answers []string
	open    int // bodies of answers that are not closed
}

func (s *served) RoundTrip(*http.Request) (*http.Response, error) {
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	if answer == "" {
		return nil, io.ErrUnexpectedEOF
	}
	s.open++
	status, text, _ := strings.Cut(answer, " ")
	code, _ := strconv.Atoi(status)
	return &http.Response{StatusCode: code, Body: &servedBody{strings.NewReader(text), s}}, nil
}

type servedBody struct {
	io.Reader
	from *served
}

func (b *servedBody) Close() error {
	b.from.open--
	return nil
}

// TestCommandsGiveUp measures for how long commands repeat a request that is not answered, as docs/cli.md promises, and
// how often they ask for the status.
func TestCommandsGiveUp(t *testing.T) {
	const runs, ended = `200 {"item":7,"state":"building","build":3}`, `200 {"item":7,"state":"ended","build":3}`
	for _, tt := range []struct {
		name    string
		do      func(context.Context, http.RoundTripper) error
		answers []string
		took    time.Duration
		want    error
	}{
		// The pauses are 0.1, 0.2, 0.4, 0.8, 1.6, and then 2 seconds.
		{"trigger", caddymodule.Trigger, []string{""}, 3100 * time.Millisecond, caddymodule.ErrUnreachable},
		{"trigger, and it works", caddymodule.Trigger, []string{"503 busy", "201 {}"}, 100 * time.Millisecond, nil},
		{"wait", caddymodule.Wait, []string{""}, 121100 * time.Millisecond, caddymodule.ErrUnreachable},
		{"wait for a while", caddymodule.Wait, []string{runs, runs, ""}, 122100 * time.Millisecond, caddymodule.ErrUnreachable},
		{"wait until the end", caddymodule.Wait, []string{runs, "503 busy", runs, runs, ended}, 1600 * time.Millisecond, nil},
		{"follow", caddymodule.Follow, []string{""}, 121100 * time.Millisecond, caddymodule.ErrUnreachable},
		{"follow, and there is no status", caddymodule.Follow, []string{"200 hello", ""}, 121100 * time.Millisecond, caddymodule.ErrUnreachable},
		{"follow until the end", caddymodule.Follow, []string{"503 busy", "200 hello", ended}, 100 * time.Millisecond, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, server := time.Now(), &served{answers: tt.answers}
				err := tt.do(t.Context(), server)
				if took := time.Since(began); !errors.Is(err, tt.want) || took != tt.took {
					t.Errorf("%v after %v, want %v after %v", err, took, tt.want, tt.took)
				}
				if server.open != 0 { // which would cost a connection each time
					t.Errorf("%d answers were not closed", server.open)
				}
			})
		})
	}
}
