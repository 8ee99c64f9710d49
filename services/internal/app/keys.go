package app

import (
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/config"
	"github.com/prosa-chat/prosa/services/internal/keyfile"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// The files of the data folder that hold keys made at the first start.
const (
	rootKeyFile   = "root.key"
	secretKeyFile = "secret.key"
)

// secretBox is what encrypts secrets at rest.
func secretBox(o Options) (*secretbox.Box, error) {
	key := o.Settings.SecretKey
	if key == "" {
		var err error
		if key, _, err = keyfile.LoadOrCreate(o.Settings.DataDir, secretKeyFile, "", nil); err != nil {
			return nil, fmt.Errorf("get secret key: %w", err)
		}
	}
	return secretbox.New(key)
}

// rootKey is the key that may do everything.
func rootKey(o Options) (string, error) {
	if o.Settings.RootKey != "" {
		return o.Settings.RootKey, nil
	}
	key, made, err := keyfile.LoadOrCreate(o.Settings.DataDir, rootKeyFile, "prk_", nil)
	if err != nil {
		return "", fmt.Errorf("get root key: %w", err)
	}
	// Somebody may have put another key into the file.
	if err := config.CheckRootKey(key); err != nil {
		return "", fmt.Errorf("read %s: %w", rootKeyFile, err)
	}
	if made && o.RootKeyMade != nil {
		o.RootKeyMade(key)
	}
	return key, nil
}
