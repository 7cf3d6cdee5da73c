package caddymodule_test

import (
	"context"
	"errors"
	"net/http"
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
