package job

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrDelay is returned for a delay that is malformed or too long.
var ErrDelay = errors.New("job: bad delay")

// MaxDelay is the longest quiet period, and the longest delay of a trigger: 365 days.
const MaxDelay = 365 * 24 * time.Hour

const maxDelayText = 100 // bytes

// ParseDelay reads the delay of a trigger. A bare number is milliseconds, and
// 5sec, 5secs and 5 sec are seconds, as in Jenkins; 90s, 5m and 1h30m are Go
// durations. Space around it does not count. Negative is 0. The error is
// [ErrDelay] for everything else, the empty text and more than [MaxDelay] too.
func ParseDelay(s string) (time.Duration, error) {
	if len(s) > maxDelayText {
		return 0, fmt.Errorf("%w: %d bytes", ErrDelay, len(s))
	}
	text, unit := strings.TrimSpace(s), time.Millisecond
	if strings.HasSuffix(text, "sec") || strings.HasSuffix(text, "secs") {
		text, unit = strings.TrimSpace(text[:strings.LastIndex(text, "sec")]), time.Second
	}
	number, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil && number > int64(MaxDelay/unit):
		return 0, tooLong(s)
	case err == nil:
		return time.Duration(max(number, 0)) * unit, nil
	case errors.Is(err, strconv.ErrRange) && strings.HasPrefix(text, "-"):
		return 0, nil
	case errors.Is(err, strconv.ErrRange):
		return 0, tooLong(s)
	}
	if unit == time.Millisecond { // not cut off: 5ssec is nothing
		d, err := time.ParseDuration(text)
		switch {
		case err == nil && d > MaxDelay:
			return 0, tooLong(s)
		case err == nil:
			return max(d, 0), nil
		}
	}
	return 0, fmt.Errorf("%w %q: want milliseconds, 5sec, 90s or 5m", ErrDelay, s)
}

func tooLong(s string) error {
	return fmt.Errorf("%w %q: at most 365 days", ErrDelay, s)
}
