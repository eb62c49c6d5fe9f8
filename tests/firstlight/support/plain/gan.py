"""A GAN with manual optimization and two optimizers. Nothing is validated or tested."""

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F


class GAN(L.LightningModule):
    def __init__(self, latent_dim: int = 4, lr: float = 2e-4):
        super().__init__()
        self.latent_dim = latent_dim
        self.lr = lr
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(latent_dim, 16), nn.ReLU(), nn.Linear(16, 64))
        self.discriminator = nn.Sequential(nn.Linear(64, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))

    def forward(self, z):
        return self.generator(z)

    def training_step(self, batch, batch_idx):
        real = batch[0].flatten(1)
        opt_g, opt_d = self.optimizers()
        z = torch.randn(len(real), self.latent_dim, device=self.device)

        self.toggle_optimizer(opt_g)
        fooled = self.discriminator(self(z))
        g_loss = F.binary_cross_entropy_with_logits(fooled, torch.ones_like(fooled))
        opt_g.zero_grad()
        self.manual_backward(g_loss)
        opt_g.step()
        self.untoggle_optimizer(opt_g)

        self.toggle_optimizer(opt_d)
        on_real, on_fake = self.discriminator(real), self.discriminator(self(z).detach())
        d_loss = F.binary_cross_entropy_with_logits(on_real, torch.ones_like(on_real))
        d_loss = d_loss + F.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))
        opt_d.zero_grad()
        self.manual_backward(d_loss)
        opt_d.step()
        self.untoggle_optimizer(opt_d)
        self.log_dict({"g_loss": g_loss, "d_loss": d_loss}, prog_bar=True)

    def configure_optimizers(self):
        betas = (0.5, 0.999)
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=self.lr, betas=betas)
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=self.lr, betas=betas)
        return [opt_g, opt_d], []
