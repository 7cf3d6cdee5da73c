package schedule

import "time"

// Schedule is a parsed spec. The zero value is never due. Schedules can be used
// concurrently.
type Schedule struct {
	lines    []line
	location *time.Location
}

// set holds small numbers, a bit for each.
type set = uint64

// line has the values of each of the five fields that match.
type line [5]set

const (
	minute = iota
	hour
	day
	month
	weekday
)

// horizon is how far ahead [Schedule.Next] looks. A 29 February on a given day of the
// week comes within 40 years.
const horizon = 41 * 366 * 24 * time.Hour

// Next returns the first minute after an instant at which the schedule is due. It
// reports false if there is none within 40 years, or for the zero Schedule.
func (s Schedule) Next(after time.Time) (time.Time, bool) {
	if len(s.lines) == 0 {
		return time.Time{}, false
	}
	end := after.Add(horizon)
	t := after.In(s.location).Truncate(time.Minute).Add(time.Minute)
	for t.Before(end) {
		hourMatches := false
		for _, l := range s.lines {
			due, sameHour := l.matches(t)
			if due {
				return t, true
			}
			hourMatches = hourMatches || sameHour
		}
		step := time.Minute
		// Skip the rest of the hour, but not across a change of the clocks, which need not
		// be at a full hour.
		if rest := time.Duration(60-t.Minute()) * time.Minute; !hourMatches && offsetOf(t) == offsetOf(t.Add(rest)) {
			step = rest
		}
		t = t.Add(step)
	}
	return time.Time{}, false
}

// Last returns the last minute at which the schedule was due, from since to now, both
// included. It reports false if there is none.
func (s Schedule) Last(since, now time.Time) (last time.Time, ok bool) {
	t := since.Add(-time.Nanosecond)
	for {
		next, found := s.Next(t)
		if !found || next.After(now) {
			return last, ok
		}
		last, ok, t = next, true, next
	}
}

// matches reports whether a line is due in a minute, and whether it may be due in
// another minute of the same hour.
func (l line) matches(t time.Time) (due, sameHour bool) {
	sameHour = l[month]&(1<<t.Month()) != 0 && l[day]&(1<<t.Day()) != 0 &&
		l[weekday]&(1<<t.Weekday()) != 0 && l[hour]&(1<<t.Hour()) != 0
	return sameHour && l[minute]&(1<<t.Minute()) != 0, sameHour
}

func offsetOf(t time.Time) int {
	_, offset := t.Zone()
	return offset
}
