// Package schedule reads schedules in the syntax of Jenkins and computes when they
// are due. It is pure: values in, values out.
//
// A spec has one or more lines, and is due whenever one of them is. A line has five
// fields, separated by blanks: minute, hour, day of the month, month, and day of the
// week (0 to 7, where 0 and 7 are Sunday). All five must match, also the two kinds of
// day, unlike in most crontabs. A field is a list of
//
//   - */n  a  a-b  a-b/n  H  H/n  H(a-b)  H(a-b)/n
//
// H is a value that differs from job to job and is always the same for one job. It
// spreads load: jobs that are due "once an hour" are not all due in the same minute.
// Jenkins derives it from the job's full name, and so does this package, with the same
// result. A line may also be @hourly, @daily, @midnight, @weekly, @monthly, @yearly or
// @annually. Lines that are empty or begin with # are ignored. The first line may be
// TZ= and the name of a time zone.
//
// Where clocks are set forward, minutes that do not exist are not due; where they are
// set back, minutes that occur twice are due twice.
package schedule
