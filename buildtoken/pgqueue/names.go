package pgqueue

import (
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// names puts the schema of the tables into statements. Statements are written
// with the schema queue, as in "select from queue.items". None depends on
// search_path, which a pooler or a setting of the role may replace.
type names struct {
	replace *strings.Replacer
	known   sync.Map // statements by their text; all are constants
}

func newNames(schema string) *names {
	name := pgx.Identifier{schema}.Sanitize() + "."
	return &names{replace: strings.NewReplacer(
		"'queue.", "'"+strings.ReplaceAll(name, "'", "''"), // the text of a regclass
		"queue.", name,
	)}
}

// in returns the statement for the schema.
func (n *names) in(sql string) string {
	if text, ok := n.known.Load(sql); ok {
		return text.(string) //nolint:forcetypeassert // only strings are stored
	}
	text := n.replace.Replace(sql)
	n.known.Store(sql, text)
	return text
}

// inAll rewrites the statements of a batch.
func (n *names) inAll(b *pgx.Batch) *pgx.Batch {
	for _, s := range b.QueuedQueries {
		s.SQL = n.in(s.SQL)
	}
	return b
}
