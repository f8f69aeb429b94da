"""The same model searched by Hugging Face and by us gives the same tokens, in whole outputs."""

import pytest
import torch

from sightline.decoding import DecodingSettings, beam_search, greedy

transformers = pytest.importorskip("transformers", reason="the peer is not installed")

PAD, EOS, VOCAB = 1, 0, 60


class PrefixState:
    def __init__(self, memory, mask, prefix):
        self.memory, self.mask, self.prefix = memory, mask, prefix

    def reorder(self, index):
        self.memory, self.mask, self.prefix = self.memory[index], self.mask[index], self.prefix[index]


class Marian:
    """Hugging Face's MarianMT as a `Decodable`: the whole prefix anew at each step."""

    pad_id, bos_id, eos_id = PAD, PAD, EOS

    def __init__(self, seed):
        torch.manual_seed(seed)
        config = transformers.MarianConfig(
            vocab_size=VOCAB, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=PAD, eos_token_id=EOS,
            decoder_start_token_id=PAD, forced_eos_token_id=None, bos_token_id=None, init_std=0.3,
            max_position_embeddings=128,
        )  # fmt: skip
        self.peer = transformers.MarianMTModel(config).eval()
        with torch.no_grad():
            self.peer.final_logits_bias[0, EOS] = 2.0  # so that sentences end at different lengths

    def start(self, src):
        mask = src != PAD
        memory = self.peer.model.encoder(input_ids=src, attention_mask=mask)[0]
        return PrefixState(memory, mask, src[:, :0])

    def step(self, tokens, state):
        state.prefix = torch.cat((state.prefix, tokens[:, None]), dim=1)
        output = self.peer(
            encoder_outputs=(state.memory,), attention_mask=state.mask, decoder_input_ids=state.prefix, use_cache=False
        )
        return output.logits[:, -1]


def sources():
    src = torch.randint(2, VOCAB, (12, 9), generator=torch.Generator().manual_seed(3))
    for row in range(12):
        src[row, row % 7 + 2] = EOS
        src[row, row % 7 + 3 :] = PAD
    return src


def peer_tokens(model, src, **settings):
    output = model.peer.generate(
        input_ids=src, attention_mask=src != PAD, max_new_tokens=40, bad_words_ids=[[PAD]], do_sample=False,
        return_dict_in_generate=True, output_scores=True, **settings,
    )  # fmt: skip
    tokens = [[token for token in row if token not in (PAD, EOS)] for row in output.sequences.tolist()]
    return tokens, getattr(output, "sequences_scores", torch.empty(0))


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_the_average_rule_and_first_stop_give_the_tokens_and_scores_of_early_stopping(seed, penalty):
    model, src = Marian(seed), sources()
    settings = DecodingSettings(
        beam=4, n_best=4, stop="first", length_norm="average", length_penalty=penalty, min_len=2,
        max_len_ratio=0, max_len_extra=40,
    )  # fmt: skip
    found = beam_search(model, src, settings)
    tokens, scores = peer_tokens(
        model, src, num_beams=4, num_return_sequences=4, early_stopping=True, length_penalty=penalty, min_new_tokens=2
    )
    compared = 0
    for row, best in enumerate(found):
        if len(best) == 4 and all(hypothesis.finished for hypothesis in best):  # at the limit the rules differ
            assert [hypothesis.tokens for hypothesis in best] == tokens[4 * row : 4 * row + 4]
            expected = scores[4 * row : 4 * row + 4].tolist()
            assert [hypothesis.score for hypothesis in best] == pytest.approx(expected, abs=1e-5)
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("seed", [0, 2])
def test_greedy_gives_the_tokens_of_a_beam_of_one(seed):
    model, src = Marian(seed), sources()
    settings = DecodingSettings(beam=1, max_len_ratio=0, max_len_extra=40, min_len=2)
    tokens, _ = peer_tokens(model, src, num_beams=1, min_new_tokens=2)
    assert [hypothesis.tokens for hypothesis in greedy(model, src, settings)] == tokens
