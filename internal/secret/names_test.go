package secret

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSecretValues(t *testing.T) {
	require.Equal(t, []string{"a1", "b2", "c3", "d4", "e5"},
		Values([]string{"HF_TOKEN=a1", "WANDB_API_KEY=b2", "AZURE_CREDENTIALS=c3", "db_password=d4", "TOKEN=e5",
			"GOOGLE_APPLICATION_CREDENTIALS=/home/me/key.json", "TOKENIZERS_PARALLELISM=false", "KEYBOARD=us",
			"HOME=/root", "MONKEY=x"}))
}
