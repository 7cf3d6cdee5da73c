// Package receiver sends notifications: as a signed event, a chat message, a commit status
// or a mail. Each format is a pure function from an event to a message; what a message
// contains is in testdata.
//
// Addresses and secrets are resolved for each attempt and never kept, so a rotated secret
// counts from the next attempt on. No error contains them, nor an address or a part of
// what was answered.
//
// The configuration decides which hosts are contacted. Parameters of builds can stand only
// behind the host, where they are escaped, and redirects are not followed.
package receiver
