package job_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func TestParseDelay(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		in   string
		want time.Duration
		err  error
	}{
		// As in Jenkins, to the millisecond, to which it truncates.
		{"0", 0, nil},
		{"0sec", 0, nil},
		{"5", 5 * time.Millisecond, nil},
		{"999", 999 * time.Millisecond, nil},
		{"1000", time.Second, nil},
		{"5sec", 5 * time.Second, nil},
		{"5secs", 5 * time.Second, nil},
		{"5 sec", 5 * time.Second, nil},
		{" 5 secs ", 5 * time.Second, nil},
		{"5\tsec", 5 * time.Second, nil},
		{"05sec", 5 * time.Second, nil},
		{"+5sec", 5 * time.Second, nil},
		{"-5sec", 0, nil},
		{"-1", 0, nil},
		{"", 0, job.ErrDelay},
		{" ", 0, job.ErrDelay},
		{"sec", 0, job.ErrDelay},
		{"secs", 0, job.ErrDelay},
		{"5min", 0, job.ErrDelay},
		{"5SEC", 0, job.ErrDelay},
		{"1.5sec", 0, job.ErrDelay},
		{"1e3", 0, job.ErrDelay},
		{"0x10", 0, job.ErrDelay},
		{"5sec sec", 0, job.ErrDelay},

		// Texts that Jenkins refuses or lets overflow, or that it accepts and we do not.
		{"5s", 5 * time.Second, nil},
		{"5m", 5 * time.Minute, nil},
		{"1h30m", 90 * time.Minute, nil},
		{"1.5s", 1500 * time.Millisecond, nil},
		{" 90s\n", 90 * time.Second, nil},
		{"-5m", 0, nil},
		{"٥sec", 0, job.ErrDelay},
		{"9223372036854775807sec", 0, job.ErrDelay},
		{"2147483648sec", 0, job.ErrDelay},
		{"9223372036854775807", 0, job.ErrDelay},
		{"9223372036854775808", 0, job.ErrDelay},
		{"18446744073709551617sec", 0, job.ErrDelay},
		{"-9223372036854775808sec", 0, nil},
		{"-9223372036854775809", 0, nil},

		{"31536000sec", year, nil},
		{"31536001sec", 0, job.ErrDelay},
		{"31536000000", year, nil},
		{"31536000001", 0, job.ErrDelay},
		{"8760h", year, nil},
		{"8760h1ns", 0, job.ErrDelay},
		{"9999999h", 0, job.ErrDelay},

		{"5ssec", 0, job.ErrDelay},
		{"5secssec", 0, job.ErrDelay},
		{"5secsec", 0, job.ErrDelay},
		{"5 s", 0, job.ErrDelay},
		{"5seconds", 0, job.ErrDelay},
		{"5_000", 0, job.ErrDelay},
		{"- 5", 0, job.ErrDelay},
		{"+", 0, job.ErrDelay},
		{"--5", 0, job.ErrDelay},
		{"NaN", 0, job.ErrDelay},
		{strings.Repeat("0", 101), 0, job.ErrDelay},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := job.ParseDelay(tt.in)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ParseDelay(%q) = %v, %v, want %v, %v", tt.in, got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseDelay(f *testing.F) {
	for _, seed := range []string{"", "0", "5sec", " 5 secs ", "-1", "5s", "1h30m", "5min", "٥sec", "9223372036854775807sec", "-9223372036854775809", "8760h1ns"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := job.ParseDelay(s)
		switch {
		case err != nil && (!errors.Is(err, job.ErrDelay) || d != 0):
			t.Fatalf("ParseDelay(%q) = %v, %v", s, d, err)
		case d < 0 || d > job.MaxDelay:
			t.Fatalf("ParseDelay(%q) = %v", s, d)
		}
		if again, err := job.ParseDelay(d.String()); err != nil || again != d {
			t.Fatalf("ParseDelay(%q) = %v, %v", d, again, err)
		}
	})
}

func TestLongestDelayText(t *testing.T) {
	for n, want := range map[int]error{100: nil, 101: job.ErrDelay} {
		if _, err := job.ParseDelay(strings.Repeat("0", n)); !errors.Is(err, want) {
			t.Errorf("ParseDelay of %d bytes = %v, want %v", n, err, want)
		}
	}
}
