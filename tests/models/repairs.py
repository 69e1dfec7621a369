"""Where the oracle contradicts itself and the papers: put right before anything is compared with it."""

import torch


def repair_prophetnet():
    """Give each query of ProphetNet's foretelling streams the numbers for distances made from itself.

    transformers 5 makes them as (batch, seq, stream, head) and reads them as (batch, stream, head, seq), so that a
    query gets those of another token, also of later ones. Microsoft's code and the first versions of transformers did
    not, nor does today's when it writes token by token with a cache, where both orders are the same.
    """
    from transformers.models.prophetnet.modeling_prophetnet import ProphetNetNgramSelfAttention as Attention

    if getattr(Attention, "is_repaired", False):
        return
    step = Attention.get_predict_relative_pos_embeddings

    def embeddings(self, hidden, weights, position_ids, buckets):
        if buckets is None:
            return step(self, hidden, weights, position_ids, buckets)
        made = self.relative_pos_embeddings(hidden).unflatten(-1, (self.num_buckets, self.num_attn_heads))
        made = made.permute(0, 2, 4, 1, 3)  # (batch, stream, head, seq, bucket)
        index = buckets[:, None, None].long().expand(*made.shape[:4], -1)
        return torch.gather(made, -1, index)

    Attention.get_predict_relative_pos_embeddings = embeddings
    Attention.is_repaired = True
