package jenkinsimport

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// newTokensFile has the tokens that an import makes, one line for each job.
const newTokensFile = "new-tokens.txt" //nolint:gosec // a name

// shortToken is the length below which a token can be guessed from its digest.
const shortToken = 16

// token reads the token of a job.
func (c *conversion) token() error {
	at := c.root.Take("authToken")
	if at == nil {
		return nil
	}
	value := strings.TrimSpace(at.Text)
	if value == "" {
		c.note(at, "the token is empty; it opens nothing here")
		return nil
	}
	text, err := c.options.Keys.Reveal(value)
	switch {
	case errors.Is(err, jenkinshome.ErrEncrypted):
		c.note(at, "the token is encrypted, and the keys in secrets are missing, so the job has a new one: give it to the callers")
		return c.newToken()
	case err != nil:
		c.note(at, "the token cannot be decrypted with these keys, so the job has a new one: give it to the callers")
		return c.newToken()
	case strings.TrimSpace(text) != text || text == "":
		c.note(at, "the token begins or ends with white space, so the job has a new one: give it to the callers")
		return c.newToken()
	}
	c.secret = text
	if c.options.Tokens == TokenNew {
		return c.newToken()
	}
	c.job.ShortToken = len(text) < shortToken
	if c.options.Tokens == TokenFile {
		c.entry.Token = TokenFile
		c.job.Token = c.secretFile()
		return nil
	}
	c.entry.Token = TokenDigest
	c.job.Token = token.NewSecret(text).Digest().String()
	return nil
}

// secretFile adds a file with the token of the job, and returns the placeholder for it.
func (c *conversion) secretFile() string {
	path := c.path("tokens", c.job.FullName, ".token")
	c.job.Files = append(c.job.Files, File{Path: path, Text: c.secret + "\n", Secret: true})
	return "{file." + c.absolute(path) + "}"
}

func (c *conversion) newToken() error {
	random := make([]byte, 32)
	if _, err := io.ReadFull(c.options.Random, random); err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	c.entry.newToken = hex.EncodeToString(random)
	c.entry.Token = TokenNew
	c.job.Token = token.NewSecret(c.entry.newToken).Digest().String()
	return nil
}
