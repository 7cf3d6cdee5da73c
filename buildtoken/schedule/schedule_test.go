package schedule_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/schedule"
)

func parse(t *testing.T, spec, name, zone string) schedule.Schedule {
	t.Helper()
	location, err := schedule.Zone(zone)
	if err != nil {
		t.Fatal(err)
	}
	s, err := schedule.Parse(spec, name, location, false)
	if err != nil {
		t.Fatalf("Parse(%q) = %v", spec, err)
	}
	return s
}

// dues returns the next n times in a form that shows changes of the clocks.
func dues(s schedule.Schedule, after time.Time, n int) string {
	var all []string
	for range n {
		next, ok := s.Next(after)
		if !ok {
			all = append(all, "never")
			break
		}
		all = append(all, next.Format("01-02 15:04 MST"))
		after = next
	}
	return strings.Join(all, ", ")
}

func TestNext(t *testing.T) {
	for _, tt := range []struct {
		name, spec, job, zone, after, want string
	}{
		{"every minute", "* * * * *", "j", "UTC", "2026-01-01T00:00:30Z", "01-01 00:01 UTC, 01-01 00:02 UTC"},
		{"the minute itself is not after it", "0 * * * *", "j", "UTC", "2026-01-01T00:00:00Z", "01-01 01:00 UTC, 01-01 02:00 UTC"},
		{"a step from the smallest value", "*/25 3 * * *", "j", "UTC", "2026-01-01T00:00:00Z", "01-01 03:00 UTC, 01-01 03:25 UTC, 01-01 03:50 UTC, 01-02 03:00 UTC"},
		{"a step in a range", "10-30/10 3 * * *", "j", "UTC", "2026-01-01T00:00:00Z", "01-01 03:10 UTC, 01-01 03:20 UTC, 01-01 03:30 UTC, 01-02 03:10 UTC"},
		{"a list", "5,1,3 0 1 1 *", "j", "UTC", "2026-01-01T00:00:00Z", "01-01 00:01 UTC, 01-01 00:03 UTC, 01-01 00:05 UTC"},
		{"day and weekday must both match", "0 0 13 * 5", "j", "UTC", "2026-01-01T00:00:00Z", "02-13 00:00 UTC, 03-13 00:00 UTC, 11-13 00:00 UTC"},
		{"7 is Sunday", "0 0 * * 7", "j", "UTC", "2026-01-01T00:00:00Z", "01-04 00:00 UTC, 01-11 00:00 UTC"},
		{"lines are alternatives", "0 1 * * *\n# a comment\n\n0 2 * * *", "j", "UTC", "2026-01-01T00:00:00Z", "01-01 01:00 UTC, 01-01 02:00 UTC"},
		{"spaces, and lines of nothing else", "  0 1 * * *\t\n  \n  # a comment", "j", "UTC", "2026-01-01T00:00:00Z", "01-01 01:00 UTC, 01-02 01:00 UTC"},
		{"the largest values", "59 23 31 12 *", "j", "UTC", "2026-01-01T00:00:00Z", "12-31 23:59 UTC, 12-31 23:59 UTC"},
		{"a leap day on a Monday", "0 0 29 2 1", "j", "UTC", "2026-01-01T00:00:00Z", "02-29 00:00 UTC"},
		{"the next leap day on a Monday is 40 years later", "0 0 29 2 1", "j", "UTC", "2072-02-29T00:00:00Z", "02-29 00:00 UTC"},
		{"hash of the name", "H * * * *", "stuff", "UTC", "2026-01-01T00:00:00Z", "01-01 00:56 UTC, 01-01 01:56 UTC"},
		{"hash of another name", "H * * * *", "junk", "UTC", "2026-01-01T00:00:00Z", "01-01 00:20 UTC"},
		{"hash in a range", "H H(12-13) * * *", "stuff", "UTC", "2026-01-01T00:00:00Z", "01-01 13:56 UTC"},
		{"hash with a step", "H/15 * * * *", "stuff", "UTC", "2026-01-01T00:00:00Z", "01-01 00:11 UTC, 01-01 00:26 UTC, 01-01 00:41 UTC, 01-01 00:56 UTC"},
		{"hash with a step of one is a hash", "H/1 * * * *", "stuff", "UTC", "2026-01-01T00:00:00Z", "01-01 00:56 UTC, 01-01 01:56 UTC"},
		{"hash with the largest step", "H/60 * * * *", "stuff", "UTC", "2026-01-01T00:00:00Z", "01-01 00:56 UTC, 01-01 01:56 UTC"},
		{"an alias", "@hourly", "stuff", "UTC", "2026-01-01T00:00:00Z", "01-01 00:56 UTC"},
		{"a time zone in the spec", "TZ=Asia/Kolkata\n30 9 * * *", "j", "UTC", "2026-01-01T00:00:00Z", "01-01 09:30 IST"},
		{"a minute that clocks skip is not due", "30 2 * * *", "j", "Europe/Berlin", "2026-03-28T12:00:00Z", "03-30 02:30 CEST"},
		{"a minute that occurs twice is due twice", "30 2 * * *", "j", "Europe/Berlin", "2026-10-24T12:00:00Z", "10-25 02:30 CEST, 10-25 02:30 CET, 10-26 02:30 CET"},
		{"half an hour of summer time", "15 * * * *", "j", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", "04-05 01:15 +11, 04-05 02:15 +1030"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after, err := time.Parse(time.RFC3339, tt.after)
			if err != nil {
				t.Fatal(err)
			}
			if got := dues(parse(t, tt.spec, tt.job, tt.zone), after, strings.Count(tt.want, ",")+1); got != tt.want {
				t.Errorf("%q after %s is due %s, want %s", tt.spec, tt.after, got, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, spec := range []string{
		"", "\n# nothing", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * 12-13 *", "* 23-24 * * *", "59-60 * * * *", "* * 31-32 * *", "* * * * 7-8",
		"* * * * 8", "5-1 * * * *", "5/15 * * * *", "*/0 * * * *", "H/61 * * * *", "H(5-1) * * * *", "H(0-60) * * * *", "H(0-3)/9 * * * *", "H-5 * * * *",
		"* * * JAN *", "* * * * MON", "? * * * *", "L * * * *", "1,,2 * * * *", "-1 * * * *", "@reboot", "@Daily", "0 0 30 2 *", "0 0 31 4,6,9,11 *",
		"TZ=Mars/Olympus\n* * * * *", "TZ=\n* * * * *", "* * * * *\nTZ=UTC", "99999999999999999999 * * * *", strings.Repeat("* * * * *\n", 500),
	} {
		if s, err := schedule.Parse(spec, "job", time.UTC, false); !errors.Is(err, schedule.ErrSpec) {
			t.Errorf("Parse(%.40q) = %v, %v, want ErrSpec", spec, s, err)
		}
	}
	if _, err := schedule.Parse("TZ=UTC\n* * * * *", "job", time.UTC, true); !errors.Is(err, schedule.ErrSpec) {
		t.Errorf("two time zones: %v, want ErrSpec", err)
	}
}

func TestLast(t *testing.T) {
	s := parse(t, "0 3 * * *", "j", "UTC")
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct{ name, since, now, want string }{
		{"once", "2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T03:00:00Z"},
		{"the last of several", "2026-01-01T00:00:00Z", "2026-01-03T12:00:00Z", "2026-01-03T03:00:00Z"},
		{"both ends count", "2026-01-01T03:00:00Z", "2026-01-01T03:00:00Z", "2026-01-01T03:00:00Z"},
		{"none", "2026-01-01T03:01:00Z", "2026-01-02T02:59:00Z", ""},
	} {
		got, ok := s.Last(at(tt.since), at(tt.now))
		if ok != (tt.want != "") || ok && !got.Equal(at(tt.want)) {
			t.Errorf("%s: Last = %v, %t, want %q", tt.name, got, ok, tt.want)
		}
	}
}

// FuzzNext compares Next with a search minute by minute that parses plain specs independently.
func FuzzNext(f *testing.F) {
	f.Add("0 3 * * *", "job", uint32(0), uint8(0))
	f.Add("*/7 1-5/2 1,15 * 0-4", "a/b", uint32(86400), uint8(1))
	f.Add("H H(0-7) * * H\n@weekly", "stuff", uint32(1<<30), uint8(2))
	f.Add("30 2 * 3,10 7", "x", uint32(1774656000), uint8(1))
	f.Fuzz(func(t *testing.T, spec, name string, from uint32, zone uint8) {
		zones := []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"}
		location, err := schedule.Zone(zones[int(zone)%len(zones)])
		if err != nil {
			t.Fatal(err)
		}
		s, err := schedule.Parse(spec, name, location, true)
		if err != nil {
			if !errors.Is(err, schedule.ErrSpec) {
				t.Fatalf("Parse(%q) = %v, want ErrSpec", spec, err)
			}
			return
		}
		after := time.Unix(int64(from), 0)
		next, ok := s.Next(after)
		if ok && (!next.After(after) || next.Second() != 0 && location == time.UTC) {
			t.Fatalf("Next(%v) = %v", after, next)
		}
		if strings.ContainsAny(spec, "H@") {
			return
		}
		const days = 70
		for m := after.Truncate(time.Minute).Add(time.Minute); m.Before(after.Add(days * 24 * time.Hour)); m = m.Add(time.Minute) {
			if due(t, spec, m.In(location)) {
				if !ok || !next.Equal(m) {
					t.Fatalf("Next(%v) of %q = %v, %t, want %v", after, spec, next, ok, m.In(location))
				}
				return
			}
		}
		if ok && next.Before(after.Add(days*24*time.Hour)) {
			t.Fatalf("Next(%v) of %q = %v, which is not due", after, spec, next)
		}
	})
}

// due reports whether a spec without H is due in a minute, by trying each number of each
// element.
func due(t *testing.T, spec string, m time.Time) bool {
	t.Helper()
	for _, line := range strings.Split(strings.ReplaceAll(spec, "\r\n", "\n"), "\n") {
		words := strings.Fields(line)
		if len(words) != 5 || strings.HasPrefix(words[0], "#") {
			continue
		}
		all := true
		for i, value := range []int{m.Minute(), m.Hour(), m.Day(), int(m.Month()), int(m.Weekday())} {
			one := false
			for _, element := range strings.Split(words[i], ",") {
				one = one || matches(element, value, i) || i == 4 && value == 0 && matches(element, 7, i)
			}
			all = all && one
		}
		if all {
			return true
		}
	}
	return false
}

func matches(element string, value, index int) bool {
	values, step, _ := strings.Cut(element, "/")
	low, high := []int{0, 0, 1, 1, 0}[index], []int{59, 23, 31, 12, 7}[index]
	if values != "*" {
		if n, _ := fmt.Sscanf(values, "%d-%d", &low, &high); n == 1 {
			high = low
		}
	}
	every := 1
	if step != "" {
		_, _ = fmt.Sscanf(step, "%d", &every)
	}
	for v := low; v <= high; v += every {
		if v == value {
			return true
		}
	}
	return false
}

// TestHashSpreads verifies that jobs are not all due at the same time.
func TestHashSpreads(t *testing.T) {
	minutes := map[int]bool{}
	for range 500 {
		s := parse(t, "H * * * *", fmt.Sprint(rand.Uint64()), "UTC")
		next, _ := s.Next(time.Unix(0, 0))
		minutes[next.Minute()] = true
	}
	if len(minutes) < 50 {
		t.Errorf("500 jobs are due in %d different minutes, want nearly 60", len(minutes))
	}
}

func ExampleSchedule_Next() {
	s, err := schedule.Parse("H/15 8-17 * * 1-5", "app/test", time.UTC, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	next, _ := s.Next(time.Date(2026, time.January, 3, 0, 0, 0, 0, time.UTC)) // a Saturday
	fmt.Println(next.Format("Mon 15:04"))
	// Output: Mon 08:06
}

// TestHashOfEachField finds the smallest and the largest value of H in each field over many
// names: every month occurs, but no day that some months do not have.
func TestHashOfEachField(t *testing.T) {
	for _, tt := range []struct {
		spec, format string
		from, to     string
	}{
		{"H * * * *", "04", "00", "59"},
		{"0 H * * *", "15", "00", "23"},
		{"0 0 H * *", "02", "01", "28"},
		{"0 0 1 H *", "01", "01", "12"},
	} {
		smallest, largest := "99", "00"
		for n := range 1000 {
			next, ok := parse(t, tt.spec, fmt.Sprint("job", n), "UTC").Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			if !ok {
				t.Fatalf("%s is never due for job%d", tt.spec, n)
			}
			smallest, largest = min(smallest, next.Format(tt.format)), max(largest, next.Format(tt.format))
		}
		if smallest != tt.from || largest != tt.to {
			t.Errorf("H in %q has values %s to %s, want %s to %s", tt.spec, smallest, largest, tt.from, tt.to)
		}
	}
}

// The numbers are those that new Random(42).nextInt() returns in Java.
func TestRandomIsThatOfJava(t *testing.T) {
	next := schedule.JavaRandom(42)
	for _, want := range []int32{-1170105035, 234785527, -1360544799, 205897768} {
		if got := next(); got != int64(uint32(want)>>1) {
			t.Errorf("next = %d, want %d", got, uint32(want)>>1)
		}
	}
}

// A schedule that only a day that its month does not have would match is refused.
func TestLastDayOfEachMonth(t *testing.T) {
	for month, days := range []int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31} {
		for day := 28; day <= 31; day++ {
			spec := fmt.Sprintf("0 0 %d %d *", day, month+1)
			if _, err := schedule.Parse(spec, "job", time.UTC, false); (err == nil) != (day <= days) {
				t.Errorf("Parse(%q) = %v", spec, err)
			}
		}
	}
}

func TestHashOfTheWeekday(t *testing.T) {
	days := map[time.Weekday]bool{}
	for n := range 200 {
		next, ok := parse(t, "0 0 * * H", fmt.Sprint("job", n), "UTC").Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		if !ok {
			t.Fatalf("0 0 * * H is never due for job%d", n)
		}
		days[next.Weekday()] = true
	}
	if len(days) != 7 {
		t.Errorf("H has %d days of the week, want all seven", len(days))
	}
}

func TestZeroScheduleIsNeverDue(t *testing.T) {
	if next, ok := (schedule.Schedule{}).Next(time.Now()); ok || !next.IsZero() {
		t.Errorf("Next = %v, %v; want none", next, ok)
	}
}

func TestLongestSpec(t *testing.T) {
	spec := "* * * * *\n#" + strings.Repeat("x", schedule.MaxSpec)
	if _, err := schedule.Parse(spec[:schedule.MaxSpec], "job", time.UTC, false); err != nil {
		t.Errorf("Parse of %d bytes = %v", schedule.MaxSpec, err)
	}
	if _, err := schedule.Parse(spec[:schedule.MaxSpec+1], "job", time.UTC, false); !errors.Is(err, schedule.ErrSpec) {
		t.Errorf("Parse of %d bytes = %v, want ErrSpec", schedule.MaxSpec+1, err)
	}
}
