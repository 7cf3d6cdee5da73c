package receiver

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
)

// maxRetryAfter bounds how long a receiver is left alone on its request.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads a Retry-After header: seconds, or a time.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32); err == nil {
		return min(max(time.Duration(seconds)*time.Second, 0), maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// notSendable returns the outcome for an event of which no message can be made.
func notSendable(err error) notify.Outcome {
	text, skip := strings.CutPrefix(err.Error(), errSkip.Error()+": ")
	return notify.Outcome{Error: text, Skip: skip, Refused: !skip, Final: !skip}
}

// describe returns why no answer came, without addresses: what the network reports contains
// them.
func describe(ctx context.Context, err error) string {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the name of the host is not known"
	case errors.As(err, &dns):
		return "the name of the host cannot be looked up"
	case errors.As(err, &certificate):
		return "the certificate of the receiver is not valid"
	case errors.As(err, &record):
		return "the receiver does not speak TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the host cannot be reached"
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was closed without an answer"
	}
	return "the connection failed"
}
