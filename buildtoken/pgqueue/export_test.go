package pgqueue

import (
	"context"
	"io/fs"

	"github.com/jackc/pgx/v5"
)

// Migrate brings the tables of a schema to what some steps make of them.
func Migrate(ctx context.Context, conn *pgx.Conn, schema string, steps fs.FS) error {
	return migrate(ctx, conn, newNames(schema), schema, steps)
}

// Migrations are the steps of this program.
func Migrations() fs.FS { return migrations }
