//go:build linux

package execrunner

// ParseStat is what a line of /proc/PID/stat says.
func ParseStat(line []byte) (state byte, group int, began uint64) {
	p := parseStat(line)
	return p.state, p.group, p.began
}
