package schedule

import (
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrSpec is wrapped by every error of [Parse].
var ErrSpec = errors.New("schedule: bad spec")

// MaxSpec is the maximum length of a spec, in bytes.
const MaxSpec = 4096

// A field is one of the five parts of a line.
type field struct {
	name     string
	min, max int
	// hashMax is the largest value of a plain H: a day that every month has.
	hashMax int
}

//nolint:gochecknoglobals // constant tables
var (
	fields = [5]field{
		{"minute", 0, 59, 59},
		{"hour", 0, 23, 23},
		{"day of the month", 1, 31, 28},
		{"month", 1, 12, 12},
		{"day of the week", 0, 7, 6},
	}
	aliases = map[string]string{
		"@yearly":   "H H H H *",
		"@annually": "H H H H *",
		"@monthly":  "H H H * *",
		"@weekly":   "H H * * H",
		"@daily":    "H H * * *",
		"@midnight": "H H(0-2) * * *",
		"@hourly":   "H * * * *",
	}
	// part is one element of a field: "*", a number, a range, or H with an optional range;
	// then an optional step.
	part = regexp.MustCompile(`^(?:(\*)|(H)(?:\((\d{1,4})-(\d{1,4})\))?|(\d{1,4})(?:-(\d{1,4}))?)(?:/(\d{1,4}))?$`)
	// daysOf is the largest number of days of each month.
	daysOf = [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
)

// Parse reads a spec. fullName is that of the job, for H. location is where the
// fields are local time, unless the spec has a TZ= line, which is an error if location
// was chosen on purpose (zoned). All errors wrap [ErrSpec] and say which line and field
// is wrong.
func Parse(spec, fullName string, location *time.Location, zoned bool) (Schedule, error) {
	s := Schedule{location: location}
	if len(spec) > MaxSpec {
		return Schedule{}, fmt.Errorf("%w: longer than %d bytes", ErrSpec, MaxSpec)
	}
	r := newRandom(fullName) // one for all lines, so the order of the H counts
	for i, text := range strings.Split(strings.ReplaceAll(spec, "\r\n", "\n"), "\n") {
		text = strings.TrimSpace(text)
		if zone, ok := strings.CutPrefix(text, "TZ="); ok && i == 0 {
			if zoned {
				return Schedule{}, fmt.Errorf("%w: TZ= and a time zone are both given; remove one", ErrSpec)
			}
			var err error
			if s.location, err = Zone(zone); err != nil {
				return Schedule{}, err
			}
			continue
		}
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		l, err := parseLine(text, r)
		if err != nil {
			return Schedule{}, fmt.Errorf("%w: %q: %w", ErrSpec, text, err)
		}
		s.lines = append(s.lines, l)
	}
	if len(s.lines) == 0 {
		return Schedule{}, fmt.Errorf("%w: it has no line with a time", ErrSpec)
	}
	return s, nil
}

// Zone returns a time zone by its name in the IANA database, such as Europe/Berlin.
func Zone(name string) (*time.Location, error) {
	location, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("%w: unknown time zone %q; write one like Europe/Berlin", ErrSpec, name)
	}
	return location, nil
}

func parseLine(text string, r *random) (line, error) {
	if strings.HasPrefix(text, "@") {
		alias, ok := aliases[text]
		if !ok {
			return line{}, fmt.Errorf("unknown alias; there are @hourly, @daily, @midnight, @weekly, @monthly and @yearly")
		}
		text = alias
	}
	words := strings.Fields(text)
	if len(words) != len(fields) {
		return line{}, fmt.Errorf("%d fields instead of five: minute, hour, day, month, day of the week", len(words))
	}
	var l line
	for i, word := range words {
		for _, p := range strings.Split(word, ",") {
			set, err := fields[i].parse(p, r)
			if err != nil {
				return line{}, fmt.Errorf("%s %q: %w", fields[i].name, p, err)
			}
			l[i] |= set
		}
	}
	if l[weekday]&(1<<7) != 0 {
		l[weekday] |= 1
	}
	for m := 1; m <= 12; m++ {
		if l[month]&(1<<m) != 0 && bits.TrailingZeros64(l[day]) <= daysOf[m] {
			return l, nil
		}
	}
	return line{}, errors.New("there is no such date")
}

// parse returns the values that one element of a field stands for.
func (f field) parse(text string, r *random) (set, error) {
	m := part.FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("not *, a number, a range like 1-5, or H, with an optional step like /5")
	}
	first, last, step := f.min, f.max, 1
	if m[7] != "" {
		step, _ = strconv.Atoi(m[7]) // the pattern has only digits
		if step == 0 {
			return 0, errors.New("a step of 0")
		}
	}
	limits := [2]string{m[5], m[6]}
	if m[2] != "" {
		limits = [2]string{m[3], m[4]}
		last = f.hashMax
	}
	if limits[0] != "" {
		first, _ = strconv.Atoi(limits[0])
		last = first
		if limits[1] != "" {
			last, _ = strconv.Atoi(limits[1])
		} else if m[7] != "" {
			return 0, errors.New("a step needs a range before it, as in 0-59/5")
		}
		if first < f.min || last > f.max || first > last {
			return 0, fmt.Errorf("values are %d to %d, the smaller one first", f.min, f.max)
		}
	}
	if m[2] != "" {
		size := last - first + 1
		if step > size {
			return 0, fmt.Errorf("a step of more than the %d values there are", size)
		}
		if step == 1 { // one value, and not every one
			return 1 << (first + r.below(size)), nil
		}
		first += r.below(step)
	}
	var values set
	for i := first; i <= last; i += step {
		values |= 1 << i
	}
	return values, nil
}
